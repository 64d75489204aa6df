-- The index of what a user has alive: a sorted set of sids by expiry, and a hash of what is known about each.
-- It needs no events: whatever has expired is dropped here whenever the index is written.

local function index_trim(zset, hash, now)
  local dead = redis.call('ZRANGEBYSCORE', zset, '-inf', string.format('%.0f', now), 'LIMIT', 0, 100)
  if #dead > 0 then
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

local function index_put(zset, hash, now, sid, expires, meta)
  index_trim(zset, hash, now)
  redis.call('ZADD', zset, string.format('%.0f', expires), sid)
  redis.call('HSET', hash, sid, meta)
  index_expire(zset, hash)
end

-- A member that is still listed lives until `expires` from now on.
local function index_touch(zset, hash, sid, expires)
  if redis.call('ZSCORE', zset, sid) then
    redis.call('ZADD', zset, string.format('%.0f', expires), sid)
    index_expire(zset, hash)
  end
end

-- The session of this device moved to another key: the first 43 bytes of what is known name it.
local function index_move(hash, sid, check)
  local meta = redis.call('HGET', hash, sid)
  if meta then redis.call('HSET', hash, sid, check .. string.sub(meta, 44)) end
end

local function index_remove(zset, hash, sid)
  redis.call('ZREM', zset, sid)
  redis.call('HDEL', hash, sid)
end
