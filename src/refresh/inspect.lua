-- Says what a presented refresh token, whose tag has been checked, is good for. Changes nothing: asking is no use of it.
-- KEYS: family, cutoffs. ARGV: epoch, hash of the token, its generation, grace.
-- Reply: empty if it would be refused; otherwise until when it is good, since when there is such a token (empty: nobody
-- knows), user, tenant, client, scope, when the user signed in.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local f, raw = {}, redis.call('HGETALL', KEYS[1])
for i = 1, #raw, 2 do f[raw[i]] = raw[i + 1] end
if f.ended or not f.cur or f.epoch ~= ARGV[1] then return {} end

local rotated = tonumber(f.rot)
local expires = math.min(tonumber(f.abs), rotated + tonumber(f.idle))
if now >= expires then return {} end
for i = 2, #KEYS do
  if tonumber(f.auth) <= moment(KEYS[i]) then return {} end
end

local generation, current, since = tonumber(ARGV[3]), tonumber(f.gen), ''
if f.prev == ARGV[2] and generation == current - 1 then
  -- Not below 0, as in rotate.lua.
  if math.max(0, now - rotated) >= tonumber(ARGV[4]) then return {} end
  expires = math.min(expires, rotated + tonumber(ARGV[4]))
elseif f.cur == ARGV[2] and generation == current then
  since = f.rot
elseif generation <= current then
  return {}
end
return { string.format('%.0f', expires), since, f.user, f.tenant, f.client, f.scope, f.login }
