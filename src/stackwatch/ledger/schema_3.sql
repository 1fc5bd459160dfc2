-- From schema 2 to 3: deliveries to WEBKNOSSOS, and notices.

-- What becomes of a published dataset on a WEBKNOSSOS server: one delivery for each dataset. `record`
-- is an UploadRecord as JSON: what a new process needs to go on.
CREATE TABLE deliveries (
    id              INTEGER PRIMARY KEY,
    dataset_id      INTEGER NOT NULL REFERENCES datasets (id),
    kind            TEXT    NOT NULL CHECK (kind IN ('upload', 'register', 'paths')),
    state           TEXT    NOT NULL CHECK (state IN (
        'queued', 'running', 'paused', 'delivered', 'parked')),
    server          TEXT    NOT NULL,
    attempt         INTEGER NOT NULL DEFAULT 0,
    record          TEXT    NOT NULL DEFAULT '',
    remote_id       TEXT    NOT NULL DEFAULT '',
    link            TEXT    NOT NULL DEFAULT '',
    error           TEXT    NOT NULL DEFAULT '',
    progress        TEXT    NOT NULL DEFAULT '',
    not_before_us   INTEGER NOT NULL DEFAULT 0,
    queued_at_us    INTEGER NOT NULL,
    started_at_us   INTEGER,
    alive_at_us     INTEGER,
    finished_at_us  INTEGER,
    UNIQUE (dataset_id)
) STRICT;

CREATE INDEX deliveries_by_state ON deliveries (state, not_before_us, id);

-- What people are told, kept until every receiver has it. `subject` is what the notice is about, so
-- that the same thing is not told twice.
CREATE TABLE notices (
    id             INTEGER PRIMARY KEY,
    kind           TEXT    NOT NULL CHECK (kind IN (
        'parked', 'share-down', 'disk-low', 'delivered')),
    is_recovery    INTEGER NOT NULL DEFAULT 0 CHECK (is_recovery IN (0, 1)),
    subject        TEXT    NOT NULL,
    facts          TEXT    NOT NULL DEFAULT '{}',
    state          TEXT    NOT NULL CHECK (state IN ('due', 'sent', 'dropped')),
    attempt        INTEGER NOT NULL DEFAULT 0,
    error          TEXT    NOT NULL DEFAULT '',
    not_before_us  INTEGER NOT NULL DEFAULT 0,
    created_at_us  INTEGER NOT NULL,
    finished_at_us INTEGER
) STRICT;

CREATE INDEX notices_by_state ON notices (state, not_before_us, id);
CREATE INDEX notices_by_subject ON notices (kind, subject, id);
