-- The moment under a key, -1 if there is none. `tonumber` alone would take fractions, exponents and hexadecimals.
local function moment(key)
  local text = redis.call('GET', key)
  if not text then return -1 end
  if #text > 15 or not string.find(text, '^%d+$') then error('CORRUPT not a moment') end
  return tonumber(text)
end

-- A cutoff is later than any before it and than any moment of authentication handed out so far. All are read before
-- anything is written: what cannot be read leaves everything as it was.
local function next_cutoff(now, old, latest) return math.max(now, old + 1, latest) end

local function keep_moment(key, at, kept)
  redis.call('SET', key, string.format('%.0f', at), 'PXAT', string.format('%.0f', at + kept))
end

-- Keeps the later of two: `known` is what was read before.
local function keep_later(key, known, at, kept)
  if at > known then keep_moment(key, at, kept) end
end

-- Whether an authentication that began at `start` (0: nobody says when) is too old for a login now: a cutoff came since, or
-- nobody can say whether one did, because cutoffs of then are no longer kept or the store has lost that moment.
local function is_outdated(start, now, cutoff, latest, kept)
  return start > 0 and (cutoff >= start or start + kept <= now or start > math.max(now, latest))
end
