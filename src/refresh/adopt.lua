-- Takes a token of another system, so that nobody takes it again. KEYS: what it depends on. ARGV: how, the token, how long
-- the mark of one that was taken stays.
-- Reply: what was there, or nil if there was nothing to take.
local how, token = ARGV[1], ARGV[2]
if how == 'mark' then
  return redis.call('SET', KEYS[1], '1', 'NX', 'PX', ARGV[3]) and '1'
end
local found = redis.call('GET', KEYS[1])
-- Some serializers keep a text as JSON, with its quotes.
if how == 'whitelist' and found ~= token and found ~= '"' .. token .. '"' then return false end
if found then redis.call('DEL', KEYS[1]) end
return found
