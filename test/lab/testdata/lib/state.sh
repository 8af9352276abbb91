# The state directory's files; of netd, which may be about to end, and of the database's journal there may be any.
find "$STATE" -mindepth 1 ! -name 'netd.*' ! -name 'banger.db-*' | sort
