-- Notes that something is revoked, and never shortens what is noted already.
-- KEYS: the entry. ARGV: until when, in milliseconds of the epoch, and why. Reply: 1 if it holds, 0 if it is past.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local expires = tonumber(ARGV[1])
if expires <= now then return 0 end
local left = redis.call('PTTL', KEYS[1])
if left == -1 or (left >= 0 and now + left >= expires) then return 1 end
redis.call('SET', KEYS[1], ARGV[2], 'PXAT', ARGV[1])
return 1
