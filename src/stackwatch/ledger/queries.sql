-- Every statement of the ledger, by name. One transaction of a verb uses several of them.

-- name: start_daemon
INSERT INTO daemon (id, pid, host, version, started_at_us, alive_at_us)
VALUES (1, :pid, :host, :version, :now_us, :now_us)
ON CONFLICT (id) DO UPDATE SET
    pid = :pid, host = :host, version = :version, started_at_us = :now_us, alive_at_us = :now_us,
    stopped_at_us = NULL;

-- name: beat
UPDATE daemon SET alive_at_us = :now_us;

-- name: stop_daemon
UPDATE daemon SET alive_at_us = :now_us, stopped_at_us = :now_us;

-- name: daemon
SELECT * FROM daemon;

-- name: note_event
INSERT INTO events (at_us, event, folder_id, acquisition_id, job_id, state_from, state_to, facts)
VALUES (:now_us, :event, :folder_id, :acquisition_id, :job_id, :state_from, :state_to, :facts);

-- name: upsert_folder
INSERT INTO folders (name, path, target, state, recorded_at_us)
VALUES (:name, :path, :target, 'healthy', :now_us)
ON CONFLICT (name) DO UPDATE SET path = :path, target = :target, is_configured = 1
RETURNING id;

-- name: unconfigure_folder
UPDATE folders SET is_configured = 0 WHERE id = :folder_id;

-- name: folder_by_name
SELECT * FROM folders WHERE name = :name;

-- name: folders
SELECT * FROM folders ORDER BY name;

-- name: folder_counts
SELECT folder_id, state, count(*) AS number FROM acquisitions
WHERE vanished_at_us IS NULL OR state NOT IN ('settling', 'incomplete', 'parked', 'ignored')
GROUP BY folder_id, state;

-- name: folder_state
UPDATE folders SET state = :state, reason = :reason WHERE id = :folder_id;

-- name: folder_scan
UPDATE folders SET files = :files, scan_ms = :scan_ms, mount = :mount, scanned_at_us = :now_us
WHERE id = :folder_id;

-- name: acquisition
SELECT * FROM acquisitions WHERE folder_id = :folder_id AND key = :key;

-- name: acquisition_by_id
SELECT * FROM acquisitions WHERE id = :acquisition_id;

-- name: acquisition_facts
SELECT
    a.id, a.key, a.state, a.generation, a.vanished_at_us, a.root_inode, a.accepted_mark,
    coalesce(g.stat_mark, iif(a.state = 'parked', a.stat_mark, '')) AS stat_mark,
    coalesce(g.size_mark, iif(a.state = 'parked', a.size_mark, '')) AS size_mark,
    coalesce(g.content_digest, '') AS content_digest,
    iif(a.state = 'ignored', a.stat_mark, '') AS ignored_mark,
    iif(a.state IN ('settling', 'incomplete'), a.error, '') AS error
FROM acquisitions AS a
LEFT JOIN generations AS g ON g.acquisition_id = a.id AND g.number = a.generation
WHERE a.folder_id = :folder_id;

-- name: acquisitions
SELECT a.*, f.name AS folder FROM acquisitions AS a JOIN folders AS f ON f.id = a.folder_id
WHERE (:folder IS NULL OR f.name = :folder) AND (:state IS NULL OR a.state = :state)
    AND (:with_gone = 1 OR a.vanished_at_us IS NULL)
ORDER BY a.changed_at_us DESC, a.id DESC LIMIT :limit;

-- name: acquisition_names
SELECT a.id, a.key, a.name, f.name AS folder FROM acquisitions AS a
JOIN folders AS f ON f.id = a.folder_id ORDER BY a.changed_at_us DESC, a.id DESC;

-- name: acquisition_record
SELECT a.*, f.name AS folder FROM acquisitions AS a JOIN folders AS f ON f.id = a.folder_id
WHERE a.id = :acquisition_id;

-- name: insert_acquisition
INSERT INTO acquisitions (
    folder_id, key, name, kind, source, state, stat_mark, size_mark, files, total_bytes,
    root_inode, priority, upload, seen_at_us, changed_at_us)
VALUES (
    :folder_id, :key, :name, :kind, :source, 'settling', :stat_mark, :size_mark, :files,
    :total_bytes, :root_inode, :priority, :upload, :now_us, :now_us)
RETURNING id;

-- name: sight_acquisition
UPDATE acquisitions SET
    name = :name, kind = :kind, source = :source, stat_mark = :stat_mark, size_mark = :size_mark,
    files = :files, total_bytes = :total_bytes, root_inode = :root_inode, priority = :priority,
    upload = :upload, vanished_at_us = NULL
WHERE id = :acquisition_id;

-- name: acquisition_state
UPDATE acquisitions SET state = :state, changed_at_us = :now_us WHERE id = :acquisition_id;

-- name: acquisition_accepted
UPDATE acquisitions SET accepted_mark = :stat_mark WHERE id = :acquisition_id;

-- name: acquisition_mark
UPDATE acquisitions SET stat_mark = :stat_mark WHERE id = :acquisition_id;

-- name: acquisition_error
UPDATE acquisitions SET error = :error WHERE id = :acquisition_id;

-- name: acquisition_moved
UPDATE acquisitions SET key = :key, name = :name, source = :source WHERE id = :acquisition_id;

-- name: acquisition_vanished
UPDATE acquisitions SET vanished_at_us = :now_us WHERE id = :acquisition_id;

-- name: acquisition_generation
UPDATE acquisitions SET generation = :number, vanished_at_us = NULL, error = ''
WHERE id = :acquisition_id;

-- name: generation
SELECT * FROM generations WHERE acquisition_id = :acquisition_id AND number = :number;

-- name: insert_generation
INSERT INTO generations (
    acquisition_id, number, state, stat_mark, size_mark, files, total_bytes, created_at_us)
VALUES (
    :acquisition_id, :number, 'queued', :stat_mark, :size_mark, :files, :total_bytes, :now_us)
RETURNING id;

-- name: generation_state
UPDATE generations SET state = :state WHERE id = :generation_id;

-- name: generation_mark
UPDATE generations SET stat_mark = :stat_mark, size_mark = :size_mark WHERE id = :generation_id;

-- name: generation_digest
UPDATE generations SET content_digest = :content_digest WHERE id = :generation_id;

-- name: supersede_generations
UPDATE generations SET state = 'superseded'
WHERE acquisition_id = :acquisition_id AND number < :number AND state <> 'superseded';

-- name: datasets_to_supersede
SELECT d.* FROM datasets AS d JOIN generations AS g ON g.id = d.generation_id
WHERE g.acquisition_id = :acquisition_id AND g.number < :number AND d.state = 'published';

-- name: insert_job
INSERT INTO jobs (acquisition_id, generation_id, state, queued_at_us)
VALUES (:acquisition_id, :generation_id, 'queued', :now_us)
RETURNING id;

-- name: job
SELECT * FROM job_facts WHERE id = :job_id;

-- name: newest_job
SELECT * FROM job_facts WHERE acquisition_id = :acquisition_id AND generation = :number
ORDER BY id DESC LIMIT 1;

-- name: last_job_of
SELECT * FROM job_facts WHERE acquisition_id = :acquisition_id ORDER BY id DESC LIMIT 1;

-- name: open_jobs
SELECT * FROM job_facts
WHERE acquisition_id = :acquisition_id AND state IN ('queued', 'waiting', 'parked') ORDER BY id;

-- name: jobs
SELECT * FROM job_facts
WHERE (:state IS NULL OR state = :state) AND (:folder IS NULL OR folder = :folder)
ORDER BY id DESC LIMIT :limit;

-- name: jobs_in_state
SELECT * FROM job_facts WHERE state = :state ORDER BY id;

-- name: job_counts
SELECT state, count(*) AS number FROM jobs GROUP BY state;

-- name: due_jobs
SELECT * FROM job_facts WHERE state = 'waiting' AND not_before_us <= :now_us ORDER BY id;

-- name: head_jobs
SELECT * FROM (
    SELECT j.*, row_number() OVER (
        PARTITION BY j.folder ORDER BY j.priority DESC, j.queued_at_us, j.id) AS place
    FROM job_facts AS j
    WHERE j.state = 'queued' AND j.not_before_us <= :now_us AND j.acquisition_state = 'queued'
        AND j.generation = j.newest_generation AND j.vanished_at_us IS NULL
        AND j.is_configured = 1 AND j.folder_state <> 'unavailable'
        AND NOT EXISTS (
            SELECT 1 FROM jobs AS o
            WHERE o.acquisition_id = j.acquisition_id AND o.state = 'claimed'))
WHERE place = 1 ORDER BY priority DESC, queued_at_us, id;

-- name: next_due
SELECT min(not_before_us) AS at_us FROM jobs WHERE state IN ('queued', 'waiting');

-- name: job_state
UPDATE jobs SET state = :state WHERE id = :job_id;

-- name: job_claimed
UPDATE jobs SET
    attempt = attempt + 1, claimed_at_us = :now_us, alive_at_us = :now_us, finished_at_us = NULL,
    worker_pid = :worker_pid, progress = '', error = ''
WHERE id = :job_id;

-- name: job_worker
UPDATE jobs SET worker_pid = :worker_pid, alive_at_us = :now_us WHERE id = :job_id;

-- name: job_progress
UPDATE jobs SET progress = :progress, alive_at_us = :now_us WHERE id = :job_id;

-- name: job_ended
UPDATE jobs SET
    worker_pid = NULL, error = :error, result = :result, not_before_us = :not_before_us,
    finished_at_us = :now_us
WHERE id = :job_id;

-- name: job_retried
UPDATE jobs SET attempts_before = attempt, not_before_us = 0, queued_at_us = :now_us
WHERE id = :job_id;

-- name: dataset
SELECT * FROM dataset_facts WHERE generation_id = :generation_id AND path = :path;

-- name: dataset_at
SELECT * FROM dataset_facts WHERE path = :path AND state IN ('publishing', 'published');

-- name: datasets_of_job
SELECT * FROM dataset_facts WHERE job_id = :job_id ORDER BY id;

-- name: datasets_of_generation
SELECT * FROM dataset_facts WHERE generation_id = :generation_id ORDER BY id;

-- name: dataset_by_id
SELECT * FROM dataset_facts WHERE id = :dataset_id;

-- name: datasets_in_state
SELECT * FROM dataset_facts WHERE state = :state ORDER BY id;

-- name: shown_runs
SELECT run_id FROM datasets
JOIN generations ON generations.id = datasets.generation_id
JOIN acquisitions ON acquisitions.id = generations.acquisition_id
WHERE acquisitions.state <> 'ignored' AND (
    datasets.state IN ('publishing', 'published')
    OR (datasets.state = 'superseded' AND datasets.superseded_at_us >= :since_us));

-- name: superseded_jobs
SELECT DISTINCT job_id FROM datasets WHERE state = 'superseded';

-- name: datasets_with_digest
SELECT * FROM dataset_facts
WHERE content_digest = :content_digest AND state IN ('published', 'superseded') ORDER BY id;

-- name: insert_dataset
INSERT INTO datasets (
    generation_id, job_id, state, name, path, staging_path, run_id, content_digest, total_bytes,
    remaining, publishing_at_us)
VALUES (
    :generation_id, :job_id, 'publishing', :name, :path, :staging_path, :run_id, :content_digest,
    :total_bytes, :remaining, :now_us);

-- name: dataset_again
UPDATE datasets SET
    job_id = :job_id, name = :name, staging_path = :staging_path, run_id = :run_id,
    content_digest = :content_digest, total_bytes = :total_bytes, remaining = :remaining,
    publishing_at_us = :now_us
WHERE id = :dataset_id;

-- name: dataset_state
UPDATE datasets SET state = :state WHERE id = :dataset_id;

-- name: dataset_published
UPDATE datasets SET published_at_us = :now_us WHERE id = :dataset_id;

-- name: dataset_superseded
UPDATE datasets SET superseded_at_us = :now_us WHERE id = :dataset_id;

-- name: dataset_generation
UPDATE datasets SET generation_id = :generation_id WHERE id = :dataset_id;

-- name: events_of_job
SELECT * FROM (SELECT * FROM events WHERE job_id = :job_id ORDER BY id DESC LIMIT :limit)
ORDER BY id;

-- name: events_of_acquisition
SELECT * FROM (
    SELECT * FROM events WHERE acquisition_id = :acquisition_id ORDER BY id DESC LIMIT :limit
) ORDER BY id;

-- name: event_count_of_job
SELECT count(*) AS number FROM events WHERE job_id = :job_id;

-- name: event_count_of_acquisition
SELECT count(*) AS number FROM events WHERE acquisition_id = :acquisition_id;

-- name: last_events
SELECT * FROM events ORDER BY id DESC LIMIT :limit;

-- name: dataset_of_run
SELECT * FROM dataset_facts WHERE run_id = :run_id AND path = :path;

-- name: identity
SELECT ledger_id FROM identity;

-- name: insert_identity
INSERT INTO identity (id, ledger_id) VALUES (1, :ledger_id);

-- name: disposals
SELECT
    d.id, d.action, d.state, d.generation_id, d.archive_path, d.error, d.due_at_us,
    d.finished_at_us, iif(d.state = 'due', g.stat_mark, d.stat_mark) AS stat_mark,
    g.number AS generation, a.id AS acquisition_id, a.key, a.name, a.kind,
    a.source, a.state AS acquisition_state, a.generation AS newest_generation, a.vanished_at_us,
    f.name AS folder
FROM disposals AS d
JOIN generations AS g ON g.id = d.generation_id
JOIN acquisitions AS a ON a.id = g.acquisition_id
JOIN folders AS f ON f.id = a.folder_id
WHERE (:state IS NULL OR d.state = :state) AND (:disposal_id IS NULL OR d.id = :disposal_id)
    AND (:acquisition_id IS NULL OR a.id = :acquisition_id)
    AND (:until_us IS NULL OR d.due_at_us <= :until_us OR d.error = '')
ORDER BY d.id;

-- name: disposals_to_plan
SELECT
    g.id AS generation_id, g.stat_mark, d.action, d.due_at_us, d.error,
    max(s.published_at_us) AS published_at_us
FROM acquisitions AS a
JOIN folders AS f ON f.id = a.folder_id
JOIN generations AS g ON g.acquisition_id = a.id AND g.number = a.generation
JOIN datasets AS s ON s.generation_id = g.id AND s.state = 'published'
LEFT JOIN disposals AS d ON d.generation_id = g.id
WHERE f.name = :folder AND a.state = 'published' AND g.state = 'published'
    AND a.vanished_at_us IS NULL AND (d.id IS NULL OR d.state = 'due')
GROUP BY g.id ORDER BY g.id;

-- name: plan_disposal
INSERT INTO disposals (generation_id, action, state, stat_mark, due_at_us, recorded_at_us)
VALUES (:generation_id, :action, 'due', :stat_mark, :due_at_us, :now_us)
ON CONFLICT (generation_id) DO UPDATE SET action = :action, due_at_us = :due_at_us, error = '';

-- name: disposal_state
UPDATE disposals SET state = :state WHERE id = :disposal_id;

-- name: disposal_mark
UPDATE disposals SET stat_mark = :stat_mark, error = '' WHERE id = :disposal_id;

-- name: disposal_archive
UPDATE disposals SET archive_path = :path WHERE id = :disposal_id;

-- name: disposal_finished
UPDATE disposals SET finished_at_us = :now_us, error = '' WHERE id = :disposal_id;

-- name: disposal_remark
UPDATE disposals SET error = :error WHERE id = :disposal_id;

-- name: disposal_due
UPDATE disposals SET due_at_us = :due_at_us WHERE id = :disposal_id;

-- name: deliveries
SELECT
    y.*, s.job_id, s.name, s.path, s.run_id, s.content_digest, s.total_bytes,
    s.state AS dataset_state, g.number AS generation, a.id AS acquisition_id, a.key, a.source,
    a.upload, f.name AS folder, f.path AS folder_path
FROM deliveries AS y
JOIN datasets AS s ON s.id = y.dataset_id
JOIN generations AS g ON g.id = s.generation_id
JOIN acquisitions AS a ON a.id = g.acquisition_id
JOIN folders AS f ON f.id = a.folder_id
WHERE (:state IS NULL OR y.state = :state) AND (:delivery_id IS NULL OR y.id = :delivery_id)
    AND (:acquisition_id IS NULL OR a.id = :acquisition_id)
    AND (:job_id IS NULL OR s.job_id = :job_id) AND (:folder IS NULL OR f.name = :folder)
    AND (NOT :is_open OR y.state <> 'delivered') AND y.id > :after_id
    AND (:until_us IS NULL OR y.state IN ('queued', 'paused') AND (
        y.not_before_us <= :until_us
        OR y.not_before_us > :until_us + 7200000000))  -- no wait is that long: the clock was wrong
ORDER BY iif(:is_newest_first, -y.id, y.id) LIMIT :limit;

-- name: datasets_to_deliver
SELECT s.id AS dataset_id, s.job_id, s.name, a.id AS acquisition_id, a.upload
FROM datasets AS s
JOIN generations AS g ON g.id = s.generation_id
JOIN acquisitions AS a ON a.id = g.acquisition_id
JOIN folders AS f ON f.id = a.folder_id
LEFT JOIN deliveries AS y ON y.dataset_id = s.id
WHERE f.name = :folder AND s.state = 'published' AND y.id IS NULL
    AND g.stat_mark NOT LIKE 'rebuilt-%'  -- nobody has read yet what its sidecar says
ORDER BY s.id LIMIT :limit OFFSET :offset;

-- name: plan_delivery
INSERT INTO deliveries (dataset_id, kind, state, server, queued_at_us)
VALUES (:dataset_id, :kind, 'queued', :server, :now_us)
RETURNING id;

-- name: redirect_delivery
UPDATE deliveries SET
    kind = :kind, server = :server, record = '', remote_id = '', progress = '', not_before_us = 0
WHERE id = :delivery_id;

-- name: delivery_state
UPDATE deliveries SET state = :state WHERE id = :delivery_id;

-- name: delivery_started
UPDATE deliveries SET
    attempt = attempt + 1, started_at_us = :now_us, alive_at_us = :now_us, finished_at_us = NULL
WHERE id = :delivery_id;

-- name: delivery_record
UPDATE deliveries SET record = :record, remote_id = :remote_id, alive_at_us = :now_us
WHERE id = :delivery_id;

-- name: delivery_progress
UPDATE deliveries SET progress = :progress, alive_at_us = :now_us WHERE id = :delivery_id;

-- name: delivery_ended
UPDATE deliveries SET error = :error, not_before_us = :not_before_us, finished_at_us = :now_us
WHERE id = :delivery_id;

-- name: delivery_done
UPDATE deliveries SET
    remote_id = :remote_id, link = :link, error = '', not_before_us = 0, finished_at_us = :now_us
WHERE id = :delivery_id;

-- name: delivery_failures
SELECT count(*) AS number FROM events
WHERE job_id = :job_id AND event = 'delivery.failed'
    AND json_extract(facts, '$.delivery_id') = :delivery_id
    AND id > coalesce((
        SELECT max(id) FROM events WHERE job_id = :job_id AND event = 'delivery.retried'
            AND json_extract(facts, '$.delivery_id') = :delivery_id), 0);

-- name: delivery_counts
SELECT y.state, count(*) AS number FROM deliveries AS y JOIN datasets AS s ON s.id = y.dataset_id
WHERE y.state = 'delivered' OR s.state = 'published' GROUP BY y.state;

-- name: insert_notice
INSERT INTO notices (kind, is_recovery, subject, facts, state, created_at_us, finished_at_us)
VALUES (:kind, :is_recovery, :subject, :facts, :state, :now_us, :finished_at_us)
RETURNING *;

-- name: due_notices
SELECT * FROM notices WHERE state = 'due' ORDER BY id;

-- name: last_notices
SELECT * FROM notices ORDER BY id DESC LIMIT :limit;

-- name: open_problems
SELECT * FROM notices AS n
WHERE n.is_recovery = 0 AND n.kind <> 'delivered' AND n.id = (
    SELECT max(later.id) FROM notices AS later
    WHERE later.kind = n.kind AND later.subject = n.subject)
ORDER BY n.id;

-- name: last_notice_sent
SELECT max(finished_at_us) AS at_us FROM notices WHERE state = 'sent';

-- name: notice_attempt
UPDATE notices SET
    attempt = attempt + 1, facts = :facts, error = :error, not_before_us = :not_before_us
WHERE id = :notice_id AND state = 'due';

-- name: notice_finished
UPDATE notices SET state = :state, finished_at_us = :now_us
WHERE id = :notice_id AND state = 'due';

-- name: remove_old_notices
DELETE FROM notices WHERE id IN (
    SELECT n.id FROM notices AS n
    WHERE n.created_at_us < :before_us AND NOT EXISTS (
        SELECT 1 FROM notices AS d
        WHERE d.kind = n.kind AND d.subject = n.subject AND d.state = 'due')
    AND (n.is_recovery = 1 OR n.kind = 'delivered' OR EXISTS (
        SELECT 1 FROM notices AS later
        WHERE later.kind = n.kind AND later.subject = n.subject AND later.id > n.id))
    ORDER BY n.id LIMIT :limit)
RETURNING id;

-- name: parked_acquisitions
SELECT
    a.id AS acquisition_id, f.name AS folder, a.key, j.id AS job_id,
    coalesce(j.finished_at_us, 0) AS since_us,
    iif(a.error <> '' OR j.error IS NULL, a.error, j.error) AS error
FROM acquisitions AS a
JOIN folders AS f ON f.id = a.folder_id
LEFT JOIN jobs AS j ON j.id = (SELECT max(id) FROM jobs WHERE jobs.acquisition_id = a.id)
WHERE a.state = 'parked' AND a.vanished_at_us IS NULL AND f.is_configured = 1
ORDER BY a.id;

-- name: parked_deliveries
SELECT
    d.id AS delivery_id, facts.name, facts.folder, d.server, d.error,
    coalesce(d.finished_at_us, 0) AS since_us
FROM deliveries AS d
JOIN dataset_facts AS facts ON facts.id = d.dataset_id
WHERE d.state = 'parked' AND facts.state IN ('publishing', 'published')
ORDER BY d.id;

-- name: deliveries_to_tell
SELECT d.id AS delivery_id, facts.name, facts.folder, d.server, d.link, d.finished_at_us
FROM deliveries AS d
JOIN dataset_facts AS facts ON facts.id = d.dataset_id
WHERE d.state = 'delivered' AND d.finished_at_us >= :since_us AND NOT EXISTS (
    SELECT 1 FROM notices WHERE kind = 'delivered' AND subject = 'delivery:' || d.id)
ORDER BY d.id;

-- name: delivery_fate
SELECT state FROM deliveries WHERE id = :delivery_id;
