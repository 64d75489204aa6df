-- Reads a session and the cutoffs that apply to it, and records that it was used if that is due.
-- KEYS: session, devices, device data, cutoffs. ARGV: how long a recorded use stays fresh, in milliseconds.
-- Reply: the record, the cutoffs, how long ago the last recorded use was.
local raw = redis.call('GET', KEYS[1])
local reply = { raw }
for i = 4, #KEYS do reply[#reply + 1] = redis.call('GET', KEYS[i]) end
if not raw or not get(KEYS[1]) then
  reply[#reply + 1] = -1
  return reply
end
local r = parse(raw)
if not r then return CORRUPT end
local now = now_ms()
local age = math.max(0, now - r.touched)
if age >= tonumber(ARGV[1]) and r.idle > 0 and now < expiry(r) and not is_cut(r, largest_cutoff(4)) then
  if r.user ~= '' then index_check(KEYS[2], KEYS[3]) end
  local done = redis.pcall('SETRANGE', KEYS[1], TOUCHED, number15(now))
  if type(done) ~= 'table' then
    r.touched, age = now, 0
    redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', expiry(r)))
    if r.user ~= '' then index_touch(KEYS[2], KEYS[3], r.sid, expiry(r)) end
    reply[1] = string.sub(raw, 1, TOUCHED) .. number15(now) .. string.sub(raw, TOUCHED + 16)
  elseif not string.find(done.err, 'OOM', 1, true) then
    -- A server whose memory is full records no use, and that is no reason not to answer; anything else is.
    return done
  end
end
reply[#reply + 1] = age
return reply
