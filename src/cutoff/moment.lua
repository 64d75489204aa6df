-- The moment under a key, -1 if there is none. `tonumber` alone would take fractions, exponents and hexadecimals.
local function moment(key)
  local text = redis.call('GET', key)
  if not text then return -1 end
  if #text > 15 or not string.find(text, '^%d+$') then error('CORRUPT not a moment') end
  return tonumber(text)
end
