-- Ends the old session, if there is one, and starts one of a user under a new id.
-- KEYS: old session, new session, devices and device data of the user, those of the old session, the latest moment,
-- cutoffs (the old session's cutoff of its user comes last).
-- ARGV: longest record, hash of the new id, has an old session?, tenant, user, sid, idle, absolute, persistent,
-- data about the device, how long the latest moment is kept, most devices (0: any number), evict?, the names for `kill`
-- of the user, those of the old session, changes.
-- Reply: the record, 2 if it is too long, 3 if there are too many devices.
local now = now_ms()
local cutoff = -1
for i = 8, #KEYS - 1 do cutoff = math.max(cutoff, moment(KEYS[i])) end
local r = {
  rev = 1, created = now, auth = math.max(now, cutoff + 1), touched = now, idle = tonumber(ARGV[7]),
  deadline = now + tonumber(ARGV[8]), persistent = ARGV[9], check = string.sub(ARGV[2], 1, 8),
  tenant = ARGV[4], user = ARGV[5], sid = ARGV[6],
}
local names, values = {}, {}
local raw = ARGV[3] == '1' and get(KEYS[1])
local old = raw and parse(raw)
if raw and not old then return CORRUPT end
if old then
  local same = old.user == r.user and old.tenant == r.tenant
  local dead = now >= expiry(old) or is_cut(old, largest_cutoff(8))
  if not dead and (same or old.user == '') then
    names, values = fields_of(raw, old)
    if not names then return CORRUPT end
    if same then r.sid = old.sid end
  end
end
names, values = apply_changes(names, values, 22)
if #render(r, names, values) > tonumber(ARGV[1]) then return 2 end
local own = { ARGV[14], ARGV[15], ARGV[16], ARGV[17] }
if not index_admit(KEYS[3], KEYS[4], now, r.sid, tonumber(ARGV[12]), ARGV[13] == '1', own, cutoff) then return 3 end
local written = write(KEYS[2], r, names, values, ARGV[1])
if old then
  if old.sid == r.sid then mark_moved(KEYS[1], ARGV[2]) else redis.call('DEL', KEYS[1]) end
  if old.user ~= '' and old.sid ~= r.sid then
    kill(KEYS[5], KEYS[6], old.sid, { ARGV[18], ARGV[19], ARGV[20], ARGV[21] })
  end
end
index_put(KEYS[3], KEYS[4], r.sid, expiry(r), ARGV[2] .. number15(r.auth) .. ARGV[10])
if r.auth > moment(KEYS[7]) then
  redis.call('SET', KEYS[7], string.format('%.0f', r.auth), 'PXAT', string.format('%.0f', r.auth + tonumber(ARGV[11])))
end
return written
