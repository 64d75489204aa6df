-- Ends the old session, if there is one, and starts one of a user under a new id.
-- KEYS: old session, new session, devices and device data of the user, those of the old session, the latest moment,
-- cutoffs (the old session's cutoff of its user comes last).
-- ARGV: longest record, hash of the new id, has an old session?, tenant, user, sid, idle, absolute, persistent,
-- data about the device, how long the latest moment is kept, most devices, evict?, the names for `kill` of the user, those
-- of the old session, when the authentication began (0: not said), changes.
-- Reply: the record, nil if it has ended by now, 2 if it is too long, 3 if there are too many devices, 4 if the
-- authentication is outdated.
local now = now_ms()
local cutoff, latest, kept = -1, moment(KEYS[7]), tonumber(ARGV[11])
for i = 8, #KEYS - 1 do cutoff = math.max(cutoff, moment(KEYS[i])) end
local of_old = math.max(cutoff, moment(KEYS[#KEYS]))
index_check(KEYS[3], KEYS[4])
index_check(KEYS[5], KEYS[6])

-- Our own resend, whose first reply was lost: nobody else knows the new id.
local done = redis.call('GET', KEYS[2])
if done then
  local r = parse(done)
  if not r or is_cut(r, cutoff) then return false end
  return done
end
if is_outdated(tonumber(ARGV[22]), now, cutoff, latest, kept) then return 4 end

local r = {
  rev = 1, created = now, auth = math.max(now, cutoff + 1), touched = now, idle = tonumber(ARGV[7]),
  deadline = now + tonumber(ARGV[8]), persistent = ARGV[9], check = string.sub(ARGV[2], 1, 8),
  tenant = ARGV[4], user = ARGV[5], sid = ARGV[6],
}

-- The old session, also if it moved meanwhile: it ends with this login. Whoever comes with an id of before gets nothing
-- of a visitor's session, and only a login of the same user goes on with a user's.
local raw, old_key, moved = ARGV[3] == '1' and text_at(KEYS[1]), KEYS[1], false
for _ = 1, 8 do
  if not raw or string.sub(raw, 1, 1) ~= '>' then break end
  old_key, moved = string.sub(old_key, 1, -44) .. string.sub(raw, 2), true
  raw = text_at(old_key)
end
if raw and string.find(raw, '^[>!]') then raw = false end
local old = raw and parse(raw)
local names, values = {}, {}
if old then
  local same = old.user == r.user and old.tenant == r.tenant
  local dead = now >= expiry(old) or is_cut(old, of_old)
  if not dead and (same or (old.user == '' and not moved)) then
    local found, texts = fields_of(raw, old)
    -- What cannot be read stays behind.
    if found then names, values = found, texts end
    if same then r.sid = old.sid end
  end
end
names, values = apply_changes(names, values, 23)
if #render(r, names, values) > tonumber(ARGV[1]) then return 2 end
local own = { ARGV[14], ARGV[15], ARGV[16], ARGV[17] }
if not index_admit(KEYS[3], KEYS[4], now, r.sid, tonumber(ARGV[12]), ARGV[13] == '1', own, cutoff) then return 3 end
local written = write(KEYS[2], r, names, values, ARGV[1])
if old and old.sid == r.sid then mark_moved(old_key, ARGV[2]) elseif raw then redis.call('DEL', old_key) end
if old and old.user ~= '' and old.sid ~= r.sid then
  kill(KEYS[5], KEYS[6], old.sid, { ARGV[18], ARGV[19], ARGV[20], ARGV[21] })
end
index_put(KEYS[3], KEYS[4], r.sid, expiry(r), ARGV[2] .. number15(r.auth) .. ARGV[10])
keep_later(KEYS[7], latest, r.auth, kept)
return written
