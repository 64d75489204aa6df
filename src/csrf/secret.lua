-- The CSRF secret of a session that is alive, made if asked for. KEYS: secret, session. ARGV: a new secret, or ''.
-- Reply: the secret, nil if there is none.
local raw = get(KEYS[2])
if not raw then
  redis.call('DEL', KEYS[1])
  return false
end
local secret = redis.call('GET', KEYS[1])
if secret or ARGV[1] == '' then return secret end
local r = parse(raw)
if not r then return CORRUPT end
redis.call('SET', KEYS[1], ARGV[1], 'PXAT', string.format('%.0f', r.deadline))
return ARGV[1]
