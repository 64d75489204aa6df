-- Decides about a presented refresh token, whose tag has been checked.
-- KEYS: family, devices, device data, cutoffs. ARGV: epoch, hash of the token, its generation, hash of its successor,
-- nonce and key id the successor was derived with, grace, client, scope asked for, resource asked for, sid, the names
-- for `kill`.
-- Reply: what became of it, and for a token that stays good: nonce and key id, when the user authenticated, when the
-- family ends, tenant, user, client, scope, resource, when the user signed in.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
index_check(KEYS[2], KEYS[3])
local cutoff = -1
for i = 4, #KEYS do cutoff = math.max(cutoff, moment(KEYS[i])) end
local f, raw = {}, redis.call('HGETALL', KEYS[1])
for i = 1, #raw, 2 do f[raw[i]] = raw[i + 1] end
if f.ended then return { 'ended', f.ended } end
if not f.cur or f.epoch ~= ARGV[1] then return { 'unknown' } end

local sid, names = ARGV[11], { ARGV[12], ARGV[13], ARGV[14], ARGV[15] }
local absolute, rotated = tonumber(f.abs), tonumber(f.rot)
if now >= absolute or now >= rotated + tonumber(f.idle) then return { 'expired' } end
if tonumber(f.auth) <= cutoff then
  kill(KEYS[2], KEYS[3], sid, names, 'revoked')
  return { 'cut' }
end
if f.client ~= ARGV[8] then return { 'client' } end

-- Every word asked for must be among those granted.
local function within(asked, granted)
  granted = ' ' .. granted .. ' '
  for word in string.gmatch(asked, '%S+') do
    if not string.find(granted, ' ' .. word .. ' ', 1, true) then return false end
  end
  return true
end
if not within(ARGV[9], f.scope) then return { 'scope' } end
if not within(ARGV[10], f.resource) then return { 'resource' } end

local function good(what, nonce, kid)
  return { what, nonce, kid, f.auth, f.abs, f.tenant, f.user, f.client, f.scope, f.resource, f.login }
end
local hash, generation, current = ARGV[2], tonumber(ARGV[3]), tonumber(f.gen)
local grace = tonumber(ARGV[7])
-- Not below 0: a clock that was set back opens no window in strict mode.
local age = math.max(0, now - rotated)

-- The token of before, presented again: by our own resend, which knows the nonce, or by whoever lost the answer.
if f.prev == hash and generation == current - 1 then
  if f.nonce == ARGV[5] or age < grace then return good('replayed', f.nonce, f.kid) end
end
-- A late tab of a client that has the new token already: it comes back as it is.
if f.cur == hash and generation == current and current > 0 and age < grace then
  return good('current', '', f.kid)
end
-- A generation above the stored one was made by this server and lost by the store: it rolls forward.
if (f.cur == hash and generation == current) or generation > current then
  local expires = math.min(now + tonumber(f.idle), absolute)
  redis.call('HSET', KEYS[1], 'prev', hash, 'cur', ARGV[4], 'nonce', ARGV[5], 'kid', ARGV[6],
    'gen', string.format('%.0f', generation + 1), 'rot', string.format('%.0f', now))
  redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', expires))
  index_touch(KEYS[2], KEYS[3], sid, expires)
  return good(generation > current and 'rolled' or 'rotated', ARGV[5], ARGV[6])
end
kill(KEYS[2], KEYS[3], sid, names, 'revoked')
return good('reused', '', '')
