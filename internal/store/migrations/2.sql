-- An image may have several names, and what the configuration of an OCI image says beyond its environment.

CREATE TABLE image_names (
    seq    INTEGER PRIMARY KEY AUTOINCREMENT, -- the order in which names were given: the oldest is the image's own
    name   TEXT    NOT NULL UNIQUE CHECK (name <> ''),
    digest TEXT    NOT NULL REFERENCES images (digest) ON DELETE CASCADE
) STRICT;

CREATE INDEX image_names_digest ON image_names (digest);

INSERT INTO image_names (name, digest) SELECT name, digest FROM images WHERE name <> '' ORDER BY created_at, name;

DROP INDEX images_name;
ALTER TABLE images DROP COLUMN name;
ALTER TABLE images ADD COLUMN platform    TEXT NOT NULL DEFAULT 'linux/amd64';
ALTER TABLE images ADD COLUMN reference   TEXT NOT NULL DEFAULT ''; -- repository@digest of what was pulled
ALTER TABLE images ADD COLUMN manifest    TEXT NOT NULL DEFAULT '';
ALTER TABLE images ADD COLUMN entrypoint  TEXT NOT NULL DEFAULT '[]';
ALTER TABLE images ADD COLUMN cmd         TEXT NOT NULL DEFAULT '[]';
ALTER TABLE images ADD COLUMN stop_signal TEXT NOT NULL DEFAULT '';
ALTER TABLE images ADD COLUMN labels      TEXT NOT NULL DEFAULT '{}'; -- as a JSON object

-- What the user chose once for all that comes: 'default_image'.
CREATE TABLE settings (
    key   TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
