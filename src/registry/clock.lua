-- What time it is, and up to when the database's endings are known here, or '' if nobody knows. KEYS: the mark.
local t = redis.call('TIME')
return { string.format('%.0f', t[1] * 1000 + math.floor(t[2] / 1000)), redis.call('GET', KEYS[1]) or '' }
