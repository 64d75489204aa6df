-- What is known about a session. KEYS: value, generation, lease. ARGV: what this reader's lease would hold, for how long.
-- Reply: 'hit', the value, how long it is fresh; or 'lease', the generation, an old value; or 'wait', whose lease it is, an
-- old value. An old value is '' if there is none.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local value = redis.call('GET', KEYS[1]) or ''
local old = string.sub(value, 16)
if value ~= '' then
  local fresh = string.match(value, '^(%d%d%d%d%d%d%d%d%d%d%d%d%d%d%d).')
  if not fresh then error('CORRUPT not a session') end
  fresh = tonumber(fresh)
  if now < fresh then return { 'hit', old, string.format('%.0f', fresh - now) } end
end
local held = redis.call('GET', KEYS[3])
if held then return { 'wait', held, old } end
redis.call('SET', KEYS[3], ARGV[1], 'PXAT', string.format('%.0f', now + tonumber(ARGV[2])))
return { 'lease', redis.call('GET', KEYS[2]) or '0', old }
