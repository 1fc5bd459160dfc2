-- From schema 1 to 2: who this ledger is, renamed acquisitions, sidecars, disposals of sources.

CREATE TABLE identity (
    id        INTEGER PRIMARY KEY CHECK (id = 1),
    ledger_id TEXT    NOT NULL
) STRICT;

ALTER TABLE acquisitions ADD COLUMN root_inode INTEGER NOT NULL DEFAULT 0;
ALTER TABLE acquisitions ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
ALTER TABLE acquisitions ADD COLUMN upload INTEGER CHECK (upload IN (0, 1));
ALTER TABLE acquisitions ADD COLUMN accepted_mark TEXT NOT NULL DEFAULT '';

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

DROP VIEW job_facts;

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
