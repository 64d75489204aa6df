-- Moves a session to a new id, changes included. KEYS: old session, new session, devices, device data, the user's
-- cutoff. ARGV: longest record, hash of the new id, changes. Reply: the record, nil if it is gone, 2 if it is too long.
local raw = get(KEYS[1])
if not raw then return false end
local r = parse(raw)
if not r then return CORRUPT end
local now = now_ms()
if now >= expiry(r) or is_cut(r, largest_cutoff(5)) then return false end
local names, values = fields_of(raw, r)
if not names then return CORRUPT end
names, values = apply_changes(names, values, 3)
r.rev = r.rev + 1
r.touched = math.max(now, r.touched)
r.check = string.sub(ARGV[2], 1, 8)
local moved = write(KEYS[2], r, names, values, ARGV[1])
if not moved then return 2 end
mark_moved(KEYS[1], ARGV[2])
if r.user ~= '' then
  index_move(KEYS[4], r.sid, ARGV[2])
  index_touch(KEYS[3], KEYS[4], r.sid, expiry(r))
end
return moved
