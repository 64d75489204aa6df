-- The short way of save.lua: the caller has worked out what the record will be. It is taken where nobody has changed the
-- fields since, and no use is to be recorded; whatever is not as expected goes the long way.
-- ARGV: longest record, the revision as it was read (0: no short way), the length as it was read, the record as it will be.
-- Reply: 3 saved so.
if ARGV[2] ~= '0' then
  local raw = redis.call('GET', KEYS[1])
  if raw and #raw == tonumber(ARGV[3]) and string.find(string.sub(raw, 1, 87), '^1%d+[p%-]$')
    and tonumber(string.sub(raw, 2, 11)) == tonumber(ARGV[2]) then
    local auth, touched = tonumber(string.sub(raw, 27, 41)), tonumber(string.sub(raw, 42, 56))
    local idle, deadline = tonumber(string.sub(raw, 57, 71)), tonumber(string.sub(raw, 72, 86))
    local t = redis.call('TIME')
    local now = t[1] * 1000 + math.floor(t[2] / 1000)
    if now < deadline and (idle == 0 or now < touched + idle) and (auth == 0 or auth > moment(KEYS[4])) then
      -- The times are those of now: a use may have been recorded since.
      local record = string.sub(ARGV[4], 1, 11) .. string.sub(raw, 12, 95) .. string.sub(ARGV[4], 96)
      redis.call('SET', KEYS[1], record, 'KEEPTTL')
      return 3
    end
  end
end
