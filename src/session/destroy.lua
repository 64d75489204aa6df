-- Ends a session and what belongs to its login, also if it moved to another id meanwhile.
-- KEYS: session, devices, device data. ARGV: the names for `kill`. Reply: the sid of the login that ended with it, 1 if
-- there was a session without one, else 0.
local key = KEYS[1]
index_check(KEYS[2], KEYS[3])
for _ = 1, 8 do
  local raw = text_at(key)
  if not raw or string.sub(raw, 1, 1) == '!' then return 0 end
  redis.call('DEL', key)
  if string.sub(raw, 1, 1) ~= '>' then
    local r = parse(raw)
    if not r or r.user == '' then return 1 end
    kill(KEYS[2], KEYS[3], r.sid, ARGV)
    return r.sid
  end
  -- In the same slot: names differ in their last 43 bytes, the hash.
  key = string.sub(key, 1, -44) .. string.sub(raw, 2)
end
return 0
