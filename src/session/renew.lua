-- Moves a session to a new id, changes included. KEYS: old session, new session, devices, device data, the user's
-- cutoff. ARGV: longest record, hash of the new id, changes. Reply: the record, nil if it is gone, 2 if it is too long.
local now, cutoff = now_ms(), largest_cutoff(5)
local function is_dead(r) return now >= expiry(r) or is_cut(r, cutoff) end
local raw = get(KEYS[1])
if not raw then
  -- Our own resend, whose first reply was lost: nobody else knows the new id.
  local done = get(KEYS[2])
  local r = done and parse(done)
  return r and not is_dead(r) and done
end
local r = parse(raw)
if not r then return CORRUPT end
if is_dead(r) then return false end
local names, values = fields_of(raw, r)
if not names then return CORRUPT end
names, values = apply_changes(names, values, 3)
if r.user ~= '' then index_check(KEYS[3], KEYS[4]) end
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
