-- Settings of the site that must survive a restart: key -> JSON value.
CREATE TABLE settings (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

-- A patient is assigned once and stays there; all cases of one patient share the part.
CREATE TABLE splits (
    patient     TEXT PRIMARY KEY,
    part        TEXT NOT NULL CHECK (part IN ('train', 'validation', 'holdout')),
    origin      TEXT NOT NULL CHECK (origin IN ('hash', 'file')),
    assigned_at TEXT NOT NULL
) STRICT;
CREATE TABLE cases (
    "case"  TEXT PRIMARY KEY,
    patient TEXT NOT NULL REFERENCES splits (patient)
) STRICT;

-- Every submitted correction, in the order of submission (number); files lie in corrections/<id>/.
CREATE TABLE corrections (
    number        INTEGER PRIMARY KEY AUTOINCREMENT,
    id            TEXT NOT NULL UNIQUE,
    "case"        TEXT NOT NULL REFERENCES cases ("case"),
    author        TEXT NOT NULL,
    submitted_at  TEXT NOT NULL,
    seconds       REAL,
    image         TEXT NOT NULL,            -- path relative to the folder of studies
    image_sha256  TEXT NOT NULL,
    mask_sha256   TEXT NOT NULL,
    model_shown   TEXT,
    version_shown TEXT,
    shown_sha256  TEXT,
    dice_shown    REAL,
    prompts       INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX corrections_by_case ON corrections ("case", number);

-- What an annotator did since the case was last submitted; correction is set on submission.
CREATE TABLE prompts (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    "case"     TEXT NOT NULL,
    author     TEXT NOT NULL,
    at         TEXT NOT NULL,
    model      TEXT NOT NULL,
    version    TEXT NOT NULL,
    prompts    TEXT NOT NULL,               -- JSON list
    correction TEXT REFERENCES corrections (id)
) STRICT;
CREATE INDEX prompts_by_case ON prompts ("case", correction);

-- Long work of the one learner process.
CREATE TABLE jobs (
    number       INTEGER PRIMARY KEY AUTOINCREMENT,
    kind         TEXT NOT NULL CHECK (kind IN ('learn', 'federated_train', 'offer', 'evaluate')),
    state        TEXT NOT NULL CHECK (state IN ('queued', 'running', 'gating', 'done', 'failed', 'cancelled')),
    model        TEXT NOT NULL,
    author       TEXT NOT NULL,
    params       TEXT NOT NULL,             -- JSON object
    progress     REAL NOT NULL DEFAULT 0,
    seconds_left REAL,
    message      TEXT NOT NULL DEFAULT '',
    error        TEXT,                      -- JSON {error, detail, hint, status} of a failed job
    result       TEXT,                      -- JSON object of a finished job
    curve        TEXT NOT NULL DEFAULT '[]',
    cancel       INTEGER NOT NULL DEFAULT 0,
    attempts     INTEGER NOT NULL DEFAULT 0,
    created_at   TEXT NOT NULL,
    started_at   TEXT,
    finished_at  TEXT
) STRICT;
CREATE INDEX jobs_by_state ON jobs (state, number);

-- Dice per label of one adapter on one correction: the champion is not evaluated twice.
CREATE TABLE scores (
    adapter_sha256 TEXT NOT NULL,
    correction     TEXT NOT NULL,
    dice           TEXT NOT NULL,           -- JSON {label: Dice}
    PRIMARY KEY (adapter_sha256, correction)
) STRICT;

-- What a federation asked and what the site answered: replies are repeated, replays refused.
CREATE TABLE exchanges (
    number           INTEGER PRIMARY KEY AUTOINCREMENT,
    kind             TEXT NOT NULL CHECK (kind IN ('train', 'offer')),
    federation_round TEXT NOT NULL,
    round            INTEGER NOT NULL,
    request_sha256   TEXT NOT NULL,
    job              INTEGER REFERENCES jobs (number),
    at               TEXT NOT NULL,
    UNIQUE (kind, federation_round, round)
) STRICT;

-- Runs of rounds as the hub last reported them.
CREATE TABLE rounds (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT NOT NULL UNIQUE,
    state      TEXT NOT NULL CHECK (state IN ('requested', 'running', 'finished', 'failed', 'stopped')),
    body       TEXT NOT NULL,               -- JSON, the whole report
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
) STRICT;
