-- Stores a new session of nobody. KEYS: session. ARGV: longest record, check, idle, absolute, persistent, changes.
-- Reply: the record, nil if the key is taken, 2 if it is too long.
if redis.call('EXISTS', KEYS[1]) == 1 then return false end
local now = now_ms()
local r = {
  rev = 1, created = now, auth = 0, touched = now, idle = tonumber(ARGV[3]), deadline = now + tonumber(ARGV[4]),
  persistent = ARGV[5], check = ARGV[2], tenant = '', user = '', sid = '',
}
local names, values = apply_changes({}, {}, 6)
return write(KEYS[1], r, names, values, ARGV[1]) or 2
