# Like docker-library/redis: runs the command as the user redis.
chown redis /data
exec setpriv --reuid redis --regid redis --clear-groups "$@"
