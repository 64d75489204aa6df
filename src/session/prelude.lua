-- The session record, as session/record.rs describes it:
-- '1' rev(10) created(15) auth(15) touched(15) idle(15) deadline(15) persistent(1) check(8), then netstrings:
-- tenant, user, sid, and pairs of name and value.

local TOUCHED, FIXED = 41, 95

local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

local function netstring(text) return #text .. ':' .. text end

-- A length has one spelling, as in record.rs: no leading zeros, at most ten digits.
local function read_netstring(raw, at)
  local from, to, length = string.find(raw, '^(%d+):', at)
  if not from or #length > 10 or (#length > 1 and string.sub(length, 1, 1) == '0') then return nil end
  local after = to + 1 + tonumber(length)
  if after > #raw + 1 then return nil end
  return string.sub(raw, to + 1, after - 1), after
end

local function parse(raw)
  -- `tonumber` would take signs, spaces, fractions and hexadecimals as well.
  if #raw < FIXED or not string.find(string.sub(raw, 1, 87), '^1%d+[p%-]$') then return nil end
  local r = {
    rev = tonumber(string.sub(raw, 2, 11)),
    created = tonumber(string.sub(raw, 12, 26)),
    auth = tonumber(string.sub(raw, 27, 41)),
    touched = tonumber(string.sub(raw, 42, 56)),
    idle = tonumber(string.sub(raw, 57, 71)),
    deadline = tonumber(string.sub(raw, 72, 86)),
    persistent = string.sub(raw, 87, 87),
    check = string.sub(raw, 88, 95),
  }
  local at = FIXED + 1
  r.tenant, at = read_netstring(raw, at)
  if at then r.user, at = read_netstring(raw, at) end
  if at then r.sid, at = read_netstring(raw, at) end
  if not at then return nil end
  r.fields_at = at
  return r
end

-- A session that moved to another id leaves a mark for a while: '>' and the hash of the new id. One that was ended from
-- elsewhere leaves '!' and why. To everybody they read as no session; only a logout or login that was sent with the old id
-- follows it, and so ends what was moved meanwhile.
local MARK_MS = 60000

-- What is stored under a key that is to be ended: what is no text is as good as an unreadable one.
local function text_at(key)
  local raw = redis.pcall('GET', key)
  return type(raw) == 'table' and '' or raw
end

local function get(key)
  local raw = redis.call('GET', key)
  if raw and (string.sub(raw, 1, 1) == '>' or string.sub(raw, 1, 1) == '!') then return false end
  return raw
end

local function mark_moved(key, hash) redis.call('SET', key, '>' .. hash, 'PX', MARK_MS) end

local CORRUPT = redis.error_reply('CORRUPT not a session record')

local function number15(n) return string.format('%015.0f', n) end

local function expiry(r)
  if r.idle > 0 then return math.min(r.touched + r.idle, r.deadline) end
  return r.deadline
end

-- The largest of the cutoffs under these keys.
local function largest_cutoff(from)
  local cutoff = -1
  for i = from, #KEYS do
    cutoff = math.max(cutoff, moment(KEYS[i]))
  end
  return cutoff
end

local function is_cut(r, cutoff) return r.auth > 0 and r.auth <= cutoff end

-- The fields of a record in their order, or nil if they cannot be read.
local function fields_of(raw, r)
  local names, values, at = {}, {}, r.fields_at
  while at <= #raw do
    local name, value
    name, at = read_netstring(raw, at)
    if not at then return nil end
    value, at = read_netstring(raw, at)
    if not at then return nil end
    if values[name] then return nil end
    names[#names + 1] = name
    values[name] = value
  end
  return names, values
end

-- Applies changes given from ARGV[at]: clear?, how many are set, name and value of each, then the names removed.
local function apply_changes(names, values, at)
  if ARGV[at] == '1' then names, values = {}, {} end
  local count = tonumber(ARGV[at + 1])
  for i = 0, count - 1 do
    local name, value = ARGV[at + 2 + 2 * i], ARGV[at + 3 + 2 * i]
    if not values[name] then names[#names + 1] = name end
    values[name] = value
  end
  for i = at + 2 + 2 * count, #ARGV do values[ARGV[i]] = nil end
  return names, values
end

local function render(r, names, values)
  local parts = {
    '1', string.format('%010.0f', r.rev), number15(r.created), number15(r.auth), number15(r.touched),
    number15(r.idle), number15(r.deadline), r.persistent, r.check,
    netstring(r.tenant), netstring(r.user), netstring(r.sid),
  }
  local seen = {}
  for _, name in ipairs(names) do
    if values[name] and not seen[name] then
      seen[name] = true
      parts[#parts + 1] = netstring(name)
      parts[#parts + 1] = netstring(values[name])
    end
  end
  return table.concat(parts)
end

-- Writes a record, unless it is longer than allowed.
local function write(key, r, names, values, limit)
  local raw = render(r, names, values)
  if #raw > tonumber(limit) then return nil end
  redis.call('SET', key, raw, 'PXAT', string.format('%.0f', expiry(r)))
  return raw
end
