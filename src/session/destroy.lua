-- Ends a session. KEYS: session, devices, device data. Reply: 1 if there was one, else 0.
local raw = redis.call('GET', KEYS[1])
if not raw then return 0 end
local r = parse(raw)
redis.call('DEL', KEYS[1])
if r and r.user ~= '' then index_remove(KEYS[2], KEYS[3], r.sid) end
return 1
