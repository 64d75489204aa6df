-- Starts a refresh family. KEYS: family, devices, device data, the latest moment, cutoffs (the user's first).
-- ARGV: hash of the token, id of the key, epoch, tenant, user, sid, client, scope, resource, idle, absolute,
-- when the user authenticated (0: now), data about the device, how long the latest moment is kept, most devices, evict?,
-- the names for `kill`, when the user signed in (0: as authenticated), on the device of a session?, when the
-- authentication began (0: not said).
-- Reply: 'ok', when the user authenticated, when the family ends, when the user signed in; or 'cut', 'full' or 'outdated'.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local cutoff = -1
for i = 5, #KEYS do cutoff = math.max(cutoff, moment(KEYS[i])) end
local latest, kept = moment(KEYS[4]), tonumber(ARGV[14])
index_check(KEYS[2], KEYS[3])
if is_outdated(tonumber(ARGV[23]), now, cutoff, latest, kept) then return { 'outdated' } end
local auth = tonumber(ARGV[12])
if auth == 0 then
  auth = math.max(now, cutoff + 1)
elseif auth <= cutoff then
  return { 'cut' }
end
local sid, names = ARGV[6], { ARGV[17], ARGV[18], ARGV[19], ARGV[20] }
-- The session it is for was ended since: a family now would outlive the end of its device.
if ARGV[22] == '1' and not index_is_alive(KEYS[2], KEYS[3], sid, now, cutoff, names) then return { 'cut' } end
if not index_admit(KEYS[2], KEYS[3], now, sid, tonumber(ARGV[15]), ARGV[16] == '1', names, cutoff) then
  return { 'full' }
end
local login = tonumber(ARGV[21])
if login == 0 then login = auth end
local absolute = now + tonumber(ARGV[11])
local expires = math.min(now + tonumber(ARGV[10]), absolute)
local function number(n) return string.format('%.0f', n) end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'cur', ARGV[1], 'kid', ARGV[2], 'epoch', ARGV[3], 'tenant', ARGV[4], 'user', ARGV[5],
  'client', ARGV[7], 'scope', ARGV[8], 'resource', ARGV[9], 'idle', ARGV[10], 'abs', number(absolute),
  'auth', number(auth), 'login', number(login), 'rot', number(now), 'gen', '0')
redis.call('PEXPIREAT', KEYS[1], number(expires))
local session, about = string.rep('.', 43), ARGV[13]
local known = redis.call('HGET', KEYS[3], sid)
if known then
  session = string.sub(known, 1, 43)
  if about == '{}' then about = string.sub(known, 59) end
end
index_put(KEYS[2], KEYS[3], sid, expires, session .. string.format('%015.0f', auth) .. about)
keep_later(KEYS[4], latest, auth, kept)
return { 'ok', number(auth), number(absolute), number(login) }
