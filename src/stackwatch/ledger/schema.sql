-- The ledger, schema 3. Times are microseconds since 1970 UTC, paths are bytes.
-- States are the words of model/job.py; only the verbs of the ledger change them.

CREATE TABLE daemon (
    id            INTEGER PRIMARY KEY CHECK (id = 1),
    pid           INTEGER NOT NULL,
    host          TEXT    NOT NULL,
    version       TEXT    NOT NULL,
    started_at_us INTEGER NOT NULL,
    alive_at_us   INTEGER NOT NULL,
    stopped_at_us INTEGER
) STRICT;

-- Who this ledger is, for claims that two daemons lay on one target.
CREATE TABLE identity (
    id        INTEGER PRIMARY KEY CHECK (id = 1),
    ledger_id TEXT    NOT NULL
) STRICT;

CREATE TABLE folders (
    id               INTEGER PRIMARY KEY,
    name             TEXT    NOT NULL UNIQUE,
    path             BLOB    NOT NULL,
    target           BLOB    NOT NULL,
    state            TEXT    NOT NULL CHECK (state IN ('healthy', 'polling', 'unavailable')),
    reason           TEXT    NOT NULL DEFAULT '',
    mount            TEXT    NOT NULL DEFAULT '',
    files            INTEGER NOT NULL DEFAULT 0,
    scan_ms          INTEGER NOT NULL DEFAULT 0,
    scanned_at_us    INTEGER,
    is_configured    INTEGER NOT NULL DEFAULT 1 CHECK (is_configured IN (0, 1)),
    recorded_at_us   INTEGER NOT NULL
) STRICT;

CREATE TABLE acquisitions (
    id              INTEGER PRIMARY KEY,
    folder_id       INTEGER NOT NULL REFERENCES folders (id),
    key             BLOB    NOT NULL,
    name            BLOB    NOT NULL,
    kind            TEXT    NOT NULL CHECK (kind IN ('folder', 'file', 'group')),
    source          BLOB    NOT NULL,
    state           TEXT    NOT NULL CHECK (state IN (
        'settling', 'incomplete', 'queued', 'converting', 'published', 'waiting', 'parked',
        'superseded', 'ignored')),
    generation      INTEGER NOT NULL DEFAULT 0,
    stat_mark       TEXT    NOT NULL,
    size_mark       TEXT    NOT NULL,
    files           INTEGER NOT NULL,
    total_bytes     INTEGER NOT NULL,
    error           TEXT    NOT NULL DEFAULT '',
    seen_at_us      INTEGER NOT NULL,
    changed_at_us   INTEGER NOT NULL,
    vanished_at_us  INTEGER,
    root_inode      INTEGER NOT NULL DEFAULT 0,
    priority        INTEGER NOT NULL DEFAULT 0,
    upload          INTEGER CHECK (upload IN (0, 1)),
    accepted_mark   TEXT    NOT NULL DEFAULT '',
    UNIQUE (folder_id, key)
) STRICT;

CREATE TABLE generations (
    id              INTEGER PRIMARY KEY,
    acquisition_id  INTEGER NOT NULL REFERENCES acquisitions (id),
    number          INTEGER NOT NULL CHECK (number > 0),
    state           TEXT    NOT NULL CHECK (state IN (
        'queued', 'converting', 'published', 'waiting', 'parked', 'superseded', 'ignored')),
    stat_mark       TEXT    NOT NULL,
    size_mark       TEXT    NOT NULL,
    content_digest  TEXT    NOT NULL DEFAULT '',
    files           INTEGER NOT NULL,
    total_bytes     INTEGER NOT NULL,
    created_at_us   INTEGER NOT NULL,
    UNIQUE (acquisition_id, number)
) STRICT;

CREATE INDEX generations_by_digest ON generations (content_digest) WHERE content_digest <> '';

CREATE TABLE jobs (
    id              INTEGER PRIMARY KEY,
    acquisition_id  INTEGER NOT NULL REFERENCES acquisitions (id),
    generation_id   INTEGER NOT NULL REFERENCES generations (id),
    state           TEXT    NOT NULL CHECK (state IN (
        'queued', 'claimed', 'waiting', 'succeeded', 'failed', 'parked')),
    attempt         INTEGER NOT NULL DEFAULT 0,
    attempts_before INTEGER NOT NULL DEFAULT 0,
    worker_pid      INTEGER,
    error           TEXT    NOT NULL DEFAULT '',
    progress        TEXT    NOT NULL DEFAULT '',
    result          TEXT    NOT NULL DEFAULT '',
    not_before_us   INTEGER NOT NULL DEFAULT 0,
    queued_at_us    INTEGER NOT NULL,
    claimed_at_us   INTEGER,
    alive_at_us     INTEGER,
    finished_at_us  INTEGER
) STRICT;

-- The rules that no verb can break, whatever its mistake.
CREATE UNIQUE INDEX one_open_job_per_generation ON jobs (generation_id)
    WHERE state IN ('queued', 'claimed', 'waiting', 'parked');
CREATE UNIQUE INDEX one_claimed_job_per_acquisition ON jobs (acquisition_id)
    WHERE state = 'claimed';
CREATE INDEX jobs_by_state ON jobs (state, not_before_us, id);

CREATE TABLE datasets (
    id               INTEGER PRIMARY KEY,
    generation_id    INTEGER NOT NULL REFERENCES generations (id),
    job_id           INTEGER NOT NULL REFERENCES jobs (id),
    state            TEXT    NOT NULL CHECK (state IN (
        'publishing', 'published', 'superseded', 'abandoned')),
    name             TEXT    NOT NULL,
    path             BLOB    NOT NULL,
    staging_path     BLOB    NOT NULL,
    run_id           TEXT    NOT NULL,
    content_digest   TEXT    NOT NULL,
    total_bytes      INTEGER NOT NULL DEFAULT 0,
    remaining        INTEGER NOT NULL DEFAULT 0,
    publishing_at_us INTEGER NOT NULL,
    published_at_us  INTEGER,
    superseded_at_us INTEGER,
    UNIQUE (generation_id, path),
    UNIQUE (run_id, path)
) STRICT;

CREATE UNIQUE INDEX one_dataset_per_path ON datasets (path)
    WHERE state IN ('publishing', 'published');
CREATE INDEX datasets_by_digest ON datasets (content_digest);

-- What becomes of a source after its dataset was published: `due` waits for the retention, `running`
-- was begun and is taken up again after a crash, `refused` keeps the source.
CREATE TABLE disposals (
    id              INTEGER PRIMARY KEY,
    generation_id   INTEGER NOT NULL REFERENCES generations (id),
    action          TEXT    NOT NULL CHECK (action IN ('archive', 'delete')),
    state           TEXT    NOT NULL CHECK (state IN ('due', 'running', 'done', 'refused')),
    stat_mark       TEXT    NOT NULL,
    archive_path    BLOB    NOT NULL DEFAULT x'',
    error           TEXT    NOT NULL DEFAULT '',
    due_at_us       INTEGER NOT NULL,
    recorded_at_us  INTEGER NOT NULL,
    finished_at_us  INTEGER,
    UNIQUE (generation_id)
) STRICT;

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

CREATE TABLE events (
    id             INTEGER PRIMARY KEY,
    at_us          INTEGER NOT NULL,
    event          TEXT    NOT NULL,
    folder_id      INTEGER REFERENCES folders (id),
    acquisition_id INTEGER REFERENCES acquisitions (id),
    job_id         INTEGER REFERENCES jobs (id),
    state_from     TEXT    NOT NULL DEFAULT '',
    state_to       TEXT    NOT NULL DEFAULT '',
    facts          TEXT    NOT NULL DEFAULT '{}'
) STRICT;

CREATE INDEX events_by_job ON events (job_id) WHERE job_id IS NOT NULL;
CREATE INDEX events_by_acquisition ON events (acquisition_id) WHERE acquisition_id IS NOT NULL;

CREATE TRIGGER events_are_not_changed BEFORE UPDATE ON events
BEGIN
    SELECT RAISE(ABORT, 'events are append-only');
END;

CREATE TRIGGER events_are_not_removed BEFORE DELETE ON events
BEGIN
    SELECT RAISE(ABORT, 'events are append-only');
END;

CREATE VIEW job_facts AS
SELECT
    jobs.*,
    acquisitions.key, acquisitions.name, acquisitions.kind, acquisitions.source,
    acquisitions.state AS acquisition_state,
    acquisitions.generation AS newest_generation,
    acquisitions.vanished_at_us, acquisitions.priority,
    generations.number AS generation, generations.stat_mark, generations.size_mark,
    generations.files, generations.total_bytes,
    folders.name AS folder, folders.path AS folder_path, folders.target,
    folders.state AS folder_state, folders.is_configured
FROM jobs
JOIN acquisitions ON acquisitions.id = jobs.acquisition_id
JOIN generations ON generations.id = jobs.generation_id
JOIN folders ON folders.id = acquisitions.folder_id;

CREATE VIEW dataset_facts AS
SELECT
    datasets.*,
    generations.number AS generation, generations.acquisition_id,
    acquisitions.generation AS newest_generation,
    acquisitions.key, folders.name AS folder
FROM datasets
JOIN generations ON generations.id = datasets.generation_id
JOIN acquisitions ON acquisitions.id = generations.acquisition_id
JOIN folders ON folders.id = acquisitions.folder_id;
