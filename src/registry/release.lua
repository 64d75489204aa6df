-- Gives a lease back. KEYS: value, generation, lease. ARGV: the lease. Reply: 1 if it was held.
if redis.call('GET', KEYS[3]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[3])
