-- The index of what a user has alive: a sorted set of sids by expiry, and a hash of what is known about each:
-- the hash its session is stored under (43 bytes, '-' for none), when its user authenticated (15 digits), and JSON.
-- It needs no events: whatever has expired is dropped here whenever the index is written.

local function index_trim(zset, hash, now)
  for _ = 1, 50 do
    local dead = redis.call('ZRANGEBYSCORE', zset, '-inf', string.format('%.0f', now), 'LIMIT', 0, 1000)
    if #dead == 0 then return end
    redis.call('ZREM', zset, unpack(dead))
    redis.call('HDEL', hash, unpack(dead))
  end
end

-- Both keys live as long as the member that lives longest.
local function index_expire(zset, hash)
  local last = redis.call('ZRANGE', zset, -1, -1, 'WITHSCORES')
  if last[2] then
    local at = string.format('%.0f', tonumber(last[2]))
    redis.call('PEXPIREAT', zset, at)
    redis.call('PEXPIREAT', hash, at)
  end
end

-- A member lives as long as the longest-lived thing of it: its expiry is only ever raised.
local function index_put(zset, hash, sid, expires, meta)
  redis.call('ZADD', zset, 'GT', string.format('%.0f', expires), sid)
  redis.call('HSET', hash, sid, meta)
  index_expire(zset, hash)
end

-- A member that is still listed lives until `expires` at least.
local function index_touch(zset, hash, sid, expires)
  if redis.call('ZSCORE', zset, sid) then
    redis.call('ZADD', zset, 'GT', string.format('%.0f', expires), sid)
    index_expire(zset, hash)
  end
end

-- The session of this device moved to another key.
local function index_move(hash, sid, check)
  local meta = redis.call('HGET', hash, sid)
  if meta then redis.call('HSET', hash, sid, check .. string.sub(meta, 44)) end
end

local function index_remove(zset, hash, sid)
  redis.call('ZREM', zset, sid)
  redis.call('HDEL', hash, sid)
end

-- What a sid names is ended: first its access tokens, then its refresh family, its session and its entry. `why` stays
-- under the keys of session and family for a day, so that the device can be told; a logout of its own leaves nothing.
-- `names` = { beginning of session keys, of family keys, of denied sids, life of access tokens in milliseconds }.
local function kill(zset, hash, sid, names, why)
  local meta = redis.call('HGET', hash, sid)
  if tonumber(names[4]) > 0 then
    redis.call('SET', names[3] .. sid, 'ended', 'PX', names[4])
  end
  if redis.call('DEL', names[2] .. sid) == 1 and why then
    redis.call('HSET', names[2] .. sid, 'ended', why)
    redis.call('PEXPIRE', names[2] .. sid, 86400000)
  end
  local at = meta and string.sub(meta, 1, 43)
  if at and string.sub(at, 1, 1) ~= '-' then
    if why then
      redis.call('SET', names[1] .. at, '!' .. why, 'PX', 86400000)
    else
      redis.call('DEL', names[1] .. at)
    end
  end
  index_remove(zset, hash, sid)
end

-- When a device's user authenticated there.
local function index_auth(hash, sid)
  return tonumber(string.sub(redis.call('HGET', hash, sid) or '', 44, 58)) or 0
end

-- Makes room for `sid` among at most `limit` members (0: any number) of whom those are dead that signed in at or before
-- `cutoff`. Whoever signed in first goes, or nobody may come. Says whether there is room.
local function index_admit(zset, hash, now, sid, limit, evict, names, cutoff)
  index_trim(zset, hash, now)
  if limit == 0 or redis.call('ZSCORE', zset, sid) then return true end
  local living = {}
  for _, other in ipairs(redis.call('ZRANGE', zset, 0, -1)) do
    local auth = index_auth(hash, other)
    if auth <= cutoff then
      kill(zset, hash, other, names, 'revoked')
    else
      living[#living + 1] = { other, auth }
    end
  end
  if #living < limit then return true end
  if not evict then return false end
  table.sort(living, function(a, b)
    if a[2] ~= b[2] then return a[2] < b[2] end
    return a[1] < b[1]
  end)
  for i = 1, #living - limit + 1 do kill(zset, hash, living[i][1], names, 'elsewhere') end
  return true
end
