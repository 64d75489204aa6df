-- Forgets what is known about a session, and whatever is being found out about it.
-- KEYS: value, generation, lease. ARGV: how long the generation is kept. Reply: the generation.
-- One that was lost begins with the time, so that no number comes twice.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('DEL', KEYS[1], KEYS[3])
local text = redis.call('GET', KEYS[2]) or '0'
if #text > 15 or not string.find(text, '^%d+$') then text = '0' end
text = string.format('%.0f', math.max(now, tonumber(text) + 1))
redis.call('SET', KEYS[2], text, 'PXAT', string.format('%.0f', now + tonumber(ARGV[1])))
return text
