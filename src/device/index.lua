-- The index of what a user has alive: a sorted set of sids by expiry, and a hash of what is known about each:
-- the hash its session is stored under (43 bytes, all '.' for none), when its user authenticated (15 digits), and JSON.
-- It needs no events: whatever has expired is dropped here whenever the index is written.

-- Before the first write of a script: an index that somebody else wrote is an error, and nothing is half done.
local function index_check(zset, hash)
  redis.call('ZCARD', zset)
  redis.call('HLEN', hash)
end

local function index_trim(zset, hash, now)
  for _ = 1, 50 do
    local dead = redis.call('ZRANGEBYSCORE', zset, '-inf', string.format('%.0f', now), 'LIMIT', 0, 1000)
    if #dead == 0 then return end
    redis.call('ZREM', zset, unpack(dead))
    redis.call('HDEL', hash, unpack(dead))
  end
end

-- The members that live, by expiry. More may have expired than one call drops.
local function index_living(zset, now)
  return redis.call('ZRANGEBYSCORE', zset, '(' .. string.format('%.0f', now), '+inf')
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

-- What a sid names is ended in one step: its entry, its refresh family, its session and its access tokens. Who denied its
-- tokens for longer is not overruled. `why` stays under the keys of session and family for a day, so that the device can
-- be told; a logout of its own leaves nothing. What frees memory comes first: a server whose memory is full lets a script
-- go on that has begun, so that a logout is always possible.
-- `names` = { beginning of session keys, of family keys, of denied sids, life of access tokens in milliseconds }.
local function kill(zset, hash, sid, names, why)
  local meta = redis.call('HGET', hash, sid)
  local at = meta and string.sub(meta, 1, 43)
  local session = at and string.sub(at, 1, 1) ~= '.' and names[1] .. at
  index_remove(zset, hash, sid)
  local family = redis.call('DEL', names[2] .. sid) == 1
  if session then redis.call('DEL', session) end
  local life, left = tonumber(names[4]), redis.call('PTTL', names[3] .. sid)
  if life > 0 and left ~= -1 and left < life then
    redis.call('SET', names[3] .. sid, 'ended', 'PX', names[4])
  end
  if not why then return end
  if family then
    redis.call('HSET', names[2] .. sid, 'ended', why)
    redis.call('PEXPIRE', names[2] .. sid, 86400000)
  end
  if session then redis.call('SET', session, '!' .. why, 'PX', 86400000) end
end

-- When a device's user authenticated there.
local function index_auth(hash, sid)
  return tonumber(string.sub(redis.call('HGET', hash, sid) or '', 44, 58)) or 0
end

-- When something of a device was last used, or nil if nothing of it is left. What has reached its timeout is not left,
-- whether or not the server has dropped its key by now.
local function index_last_use(hash, sid, names, now)
  local meta = redis.call('HGET', hash, sid) or ''
  local seen
  local f = redis.call('HMGET', names[2] .. sid, 'rot', 'idle', 'abs')
  local rot, idle, last = tonumber(f[1] or nil), tonumber(f[2] or nil), tonumber(f[3] or nil)
  if rot and idle and last and now < math.min(rot + idle, last) then seen = rot end
  if meta ~= '' and string.sub(meta, 1, 1) ~= '.' then
    -- The header of the session's record: used, idle timeout, deadline.
    local raw = redis.call('GETRANGE', names[1] .. string.sub(meta, 1, 43), 0, 85)
    if string.find(raw, '^1%d+$') and #raw == 86 then
      local used, limit = tonumber(string.sub(raw, 42, 56)), tonumber(string.sub(raw, 57, 71))
      local ends = tonumber(string.sub(raw, 72, 86))
      if limit > 0 then ends = math.min(ends, used + limit) end
      if now < ends then seen = math.max(seen or 0, used) end
    end
  end
  return seen
end

-- Whether a device is signed in: it is listed, later than `cutoff`, and something of it is left.
local function index_is_alive(zset, hash, sid, now, cutoff, names)
  local expires = tonumber(redis.call('ZSCORE', zset, sid) or nil)
  return expires and expires > now and index_auth(hash, sid) > cutoff and index_last_use(hash, sid, names, now) ~= nil
end

-- Makes room for `sid` among at most `limit` members of whom those are dead that signed in at or before `cutoff`, or of
-- whom nothing is left. Whoever signed in first goes, or nobody may come. Says whether there is room. As long as fewer are
-- listed nobody looks at them one by one.
local function index_admit(zset, hash, now, sid, limit, evict, names, cutoff)
  local after = '(' .. string.format('%.0f', now)
  if redis.call('ZSCORE', zset, sid) or redis.call('ZCOUNT', zset, after, '+inf') < limit then
    index_trim(zset, hash, now)
    return true
  end
  local cut, dead, living = {}, {}, {}
  for _, other in ipairs(index_living(zset, now)) do
    local auth = index_auth(hash, other)
    if auth <= cutoff then
      cut[#cut + 1] = other
    elseif not index_last_use(hash, other, names, now) then
      dead[#dead + 1] = other
    else
      living[#living + 1] = { other, auth }
    end
  end
  index_trim(zset, hash, now)
  for _, other in ipairs(cut) do kill(zset, hash, other, names, 'revoked') end
  for _, other in ipairs(dead) do index_remove(zset, hash, other) end
  if #living < limit then return true end
  if not evict then return false end
  table.sort(living, function(a, b)
    if a[2] ~= b[2] then return a[2] < b[2] end
    return a[1] < b[1]
  end)
  for i = 1, #living - limit + 1 do kill(zset, hash, living[i][1], names, 'elsewhere') end
  return true
end
