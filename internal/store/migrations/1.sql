-- What banger knows for good. Nothing here is about processes or devices: that is asked of the host.
-- Times are nanoseconds since 1970, 0 for never. Lists are JSON.

CREATE TABLE images (
    digest     TEXT    NOT NULL PRIMARY KEY,
    name       TEXT    NOT NULL,             -- '' once a newer image has taken the name
    arch       TEXT    NOT NULL,
    source     TEXT    NOT NULL,
    init       TEXT    NOT NULL,
    init_path  TEXT    NOT NULL,
    env        TEXT    NOT NULL,
    workdir    TEXT    NOT NULL,
    user       TEXT    NOT NULL,
    size_bytes INTEGER NOT NULL,
    disk_bytes INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX images_name ON images (name) WHERE name <> '';

CREATE TABLE kernels (
    digest        TEXT    NOT NULL PRIMARY KEY,
    name          TEXT    NOT NULL,          -- likewise
    arch          TEXT    NOT NULL,
    release       TEXT    NOT NULL,
    source        TEXT    NOT NULL,
    early_modules TEXT    NOT NULL,
    size_bytes    INTEGER NOT NULL,
    created_at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX kernels_name ON kernels (name) WHERE name <> '';

CREATE TABLE vms (
    id         TEXT    NOT NULL PRIMARY KEY,
    name       TEXT    NOT NULL UNIQUE CHECK (name <> ''),
    slot       INTEGER NOT NULL UNIQUE CHECK (slot > 0),
    spec       TEXT    NOT NULL,             -- model.Spec as JSON
    image      TEXT    NOT NULL REFERENCES images (digest),
    kernel     TEXT    NOT NULL REFERENCES kernels (digest),
    vmm        TEXT    NOT NULL,
    root_disk  TEXT    NOT NULL,
    network    TEXT    NOT NULL,
    state      TEXT    NOT NULL CHECK (state IN ('creating', 'stopped', 'starting', 'running', 'pausing', 'paused', 'stopping', 'failed', 'deleting')),
    last_error TEXT    NOT NULL DEFAULT '',
    generation INTEGER NOT NULL DEFAULT 0,
    leased     INTEGER NOT NULL DEFAULT 0 CHECK (leased IN (0, 1)),
    created_at INTEGER NOT NULL,
    started_at INTEGER NOT NULL DEFAULT 0,
    used_at    INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE INDEX vms_image ON vms (image);
CREATE INDEX vms_kernel ON vms (kernel);

CREATE TABLE operations (
    seq             INTEGER PRIMARY KEY AUTOINCREMENT, -- the order of their begins
    id              TEXT    NOT NULL UNIQUE,
    kind            TEXT    NOT NULL,
    subject         TEXT    NOT NULL,
    state           TEXT    NOT NULL CHECK (state IN ('running', 'done', 'failed', 'canceled')),
    stage           TEXT    NOT NULL,
    error           TEXT    NOT NULL,
    idempotency_key TEXT    NOT NULL,
    created_at      INTEGER NOT NULL,
    finished_at     INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX operations_key ON operations (idempotency_key) WHERE idempotency_key <> '';
CREATE INDEX operations_running ON operations (seq) WHERE state = 'running';
