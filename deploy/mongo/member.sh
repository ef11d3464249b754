# Runs one member of the replica set. mongod wants the key, by which the members know each other, to
# be its own and hidden from others, and a secret of Compose is neither.
set -eu
umask 077
cat /run/secrets/mongodb_key >/tmp/key
exec mongod \
    --replSet skyquay \
    --keyFile /tmp/key \
    --bind_ip_all \
    --nounixsocket \
    --wiredTigerCacheSizeGB 0.25 \
    --setParameter enableLocalhostAuthBypass=false \
    --setParameter transactionLifetimeLimitSeconds=10
