-- The short way of save.lua: the caller has worked out what the record will be. It is taken where nobody has changed the
-- fields or the authentication since, and no use is to be recorded; whatever is not as expected goes the long way. That the
-- session is not over is what the key being there says.
-- ARGV: longest record, the beginning of the record as it was read, up to its authentication (empty: no short way), its length,
-- the record as it will be.
-- Reply: 3 saved so.
if ARGV[2] ~= '' then
  local raw = redis.call('GET', KEYS[1])
  if raw and #raw == tonumber(ARGV[3]) and string.sub(raw, 1, 41) == ARGV[2] then
    local auth = tonumber(string.sub(raw, 27, 41))
    if auth == 0 or auth > moment(KEYS[4]) then
      -- When it was used is as of now: that may have been recorded since.
      local record = string.sub(ARGV[4], 1, 41) .. string.sub(raw, 42, 56) .. string.sub(ARGV[4], 57)
      redis.call('SET', KEYS[1], record, 'KEEPTTL')
      return 3
    end
  end
end
