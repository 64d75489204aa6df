-- What the owner of devices asks. KEYS: devices, device data, the latest moment, the largest
-- cutoff, the cutoffs, the user's first.
-- ARGV: what to do, a sid, how long cutoffs are kept, the names for `kill`, and for 'token' the epoch of its family.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local what, sid = ARGV[1], ARGV[2]
local names = { ARGV[4], ARGV[5], ARGV[6], ARGV[7] }
local before = -1
for i = 5, #KEYS do before = math.max(before, moment(KEYS[i])) end
index_check(KEYS[1], KEYS[2])

if what == 'list' then
  local reply, dead = {}, {}
  for _, id in ipairs(index_living(KEYS[1], now)) do
    local meta = redis.call('HGET', KEYS[2], id) or ''
    local seen = index_last_use(KEYS[2], id, names, now)
    if seen and index_auth(KEYS[2], id) > before then
      reply[#reply + 1] = { id, string.format('%.0f', seen), string.sub(meta, 44) }
    else
      dead[#dead + 1] = id
    end
  end
  index_trim(KEYS[1], KEYS[2], now)
  for _, id in ipairs(dead) do index_remove(KEYS[1], KEYS[2], id) end
  return reply
end

-- Denied sids are not the user's own: one that is not known to be this user's is not denied.
if what == 'one' then
  local score = redis.call('ZSCORE', KEYS[1], sid)
  local was = score and tonumber(score) > now
  local known = was or redis.call('HEXISTS', names[2] .. sid, 'cur') == 1
  index_trim(KEYS[1], KEYS[2], now)
  if known then kill(KEYS[1], KEYS[2], sid, names, 'revoked') end
  return was and 1 or 0
end

-- A token is the user's own, and names its device also when the store lost the family; but if the family was ended, or
-- issued anew since, it is of nobody.
if what == 'token' then
  local family = redis.call('HMGET', names[2] .. sid, 'epoch', 'ended')
  index_trim(KEYS[1], KEYS[2], now)
  if family[2] or (family[1] and family[1] ~= ARGV[8]) then return 0 end
  kill(KEYS[1], KEYS[2], sid, names, 'revoked')
  return 1
end

-- 'all' and 'others': one cutoff ends everything, known to the index or not; the entries go because nothing of them is
-- left. 'others' takes the current device past the cutoff, unless it is dead itself: a request under way may belong to
-- one that was signed out meanwhile.
local keeps = what == 'others' and index_is_alive(KEYS[1], KEYS[2], sid, now, before, names)
local latest, kept = moment(KEYS[3]), tonumber(ARGV[3])
local largest = moment(KEYS[4])
local cutoff = next_cutoff(now, moment(KEYS[5]), latest)
local living = index_living(KEYS[1], now)
index_trim(KEYS[1], KEYS[2], now)
keep_moment(KEYS[5], cutoff, kept)
keep_later(KEYS[4], largest, cutoff, kept)
local ended = 0
for _, id in ipairs(living) do
  if not keeps or id ~= sid then
    kill(KEYS[1], KEYS[2], id, names, 'revoked')
    ended = ended + 1
  end
end
if keeps then
  keep_later(KEYS[3], latest, cutoff + 1, kept)
  local auth = string.format('%015.0f', cutoff + 1)
  if redis.call('EXISTS', names[2] .. sid) == 1 then redis.call('HSET', names[2] .. sid, 'auth', auth) end
  local meta = redis.call('HGET', KEYS[2], sid)
  if meta then
    redis.call('HSET', KEYS[2], sid, string.sub(meta, 1, 43) .. auth .. string.sub(meta, 59))
  end
  if meta and string.sub(meta, 1, 1) ~= '.' then
    local key = names[1] .. string.sub(meta, 1, 43)
    if redis.call('GETRANGE', key, 0, 0) == '1' then redis.call('SETRANGE', key, 26, auth) end
  end
end
return { ended, string.format('%.0f', cutoff) }
