-- Notes that something is revoked, and never shortens what is noted already.
-- KEYS: the entry. ARGV: until when, in milliseconds of the epoch by the clock of who asks, how long that is from then on by the
-- same clock, and why. It holds until it is over by both clocks: while this one is ahead, others still accept the token.
-- Reply: 1 if it holds, 0 if it is past.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local expires = math.max(tonumber(ARGV[1]), now + tonumber(ARGV[2]))
if expires <= now then return 0 end
local left = redis.call('PTTL', KEYS[1])
if left == -1 or (left >= 0 and now + left >= expires) then return 1 end
redis.call('SET', KEYS[1], ARGV[3], 'PXAT', string.format('%.0f', expires))
return 1
