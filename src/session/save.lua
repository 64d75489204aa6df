-- Merges changes into a session that still exists, and records the use.
-- KEYS: session, devices, device data, the user's cutoff. ARGV: longest record, what save_short.lua takes, changes.
-- Reply: 1 saved, 0 gone, 2 too long; 3 by save_short.lua.
local raw = get(KEYS[1])
if not raw then return 0 end
local r = parse(raw)
if not r then return CORRUPT end
local now = now_ms()
if now >= expiry(r) or is_cut(r, largest_cutoff(4)) then return 0 end
local names, values = fields_of(raw, r)
if not names then return CORRUPT end
names, values = apply_changes(names, values, 5)
if r.user ~= '' then index_check(KEYS[2], KEYS[3]) end
r.rev = r.rev + 1
r.touched = math.max(now, r.touched)
if not write(KEYS[1], r, names, values, ARGV[1]) then return 2 end
if r.user ~= '' then index_touch(KEYS[2], KEYS[3], r.sid, expiry(r)) end
return 1
