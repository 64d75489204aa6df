-- What the owner of devices asks. KEYS: devices, device data, the latest moment, the cutoffs, the user's first.
-- ARGV: what to do, a sid, how long cutoffs are kept, then the names for `kill`.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local what, sid = ARGV[1], ARGV[2]
local names = { ARGV[4], ARGV[5], ARGV[6], ARGV[7] }
index_trim(KEYS[1], KEYS[2], now)

-- When a device was last used, or nil if nothing of it is left.
local function last_use(id, meta)
  local seen = tonumber(redis.call('HGET', names[2] .. id, 'rot') or nil)
  if string.sub(meta, 1, 1) ~= '-' then
    local raw = redis.call('GETRANGE', names[1] .. string.sub(meta, 1, 43), 0, 55)
    if #raw == 56 and string.sub(raw, 1, 1) == '1' then
      seen = math.max(seen or 0, tonumber(string.sub(raw, 42, 56)) or 0)
    end
  end
  return seen
end

if what == 'list' then
  local reply = {}
  local cutoff = -1
  for i = 4, #KEYS do cutoff = math.max(cutoff, moment(KEYS[i])) end
  for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
    local meta = redis.call('HGET', KEYS[2], id) or ''
    local seen = last_use(id, meta)
    if seen and index_auth(KEYS[2], id) > cutoff then
      reply[#reply + 1] = { id, string.format('%.0f', seen), string.sub(meta, 44) }
    else
      index_remove(KEYS[1], KEYS[2], id)
    end
  end
  return reply
end

if what == 'one' then
  local was = redis.call('ZSCORE', KEYS[1], sid)
  kill(KEYS[1], KEYS[2], sid, names, 'revoked')
  return was and 1 or 0
end

-- 'all' and 'others': one cutoff ends everything, known to the index or not; the entries go because nothing of them is
-- left. 'others' takes the current device past the cutoff.
local old = moment(KEYS[4])
local ahead = moment(KEYS[3])
local cutoff = math.max(now, old + 1, ahead)
local function keep(key, moment)
  local text = string.format('%.0f', moment)
  redis.call('SET', key, text, 'PXAT', string.format('%.0f', moment + tonumber(ARGV[3])))
end
keep(KEYS[4], cutoff)
local ended = 0
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  if what == 'all' or id ~= sid then
    kill(KEYS[1], KEYS[2], id, names, 'revoked')
    ended = ended + 1
  end
end
if what == 'others' then
  keep(KEYS[3], math.max(cutoff + 1, ahead))
  local auth = string.format('%015.0f', cutoff + 1)
  if redis.call('EXISTS', names[2] .. sid) == 1 then redis.call('HSET', names[2] .. sid, 'auth', auth) end
  local meta = redis.call('HGET', KEYS[2], sid)
  if meta then
    redis.call('HSET', KEYS[2], sid, string.sub(meta, 1, 43) .. auth .. string.sub(meta, 59))
  end
  if meta and string.sub(meta, 1, 1) ~= '-' then
    local key = names[1] .. string.sub(meta, 1, 43)
    if redis.call('GETRANGE', key, 0, 0) == '1' then redis.call('SETRANGE', key, 26, auth) end
  end
end
return { ended, string.format('%.0f', cutoff) }
