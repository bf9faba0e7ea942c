-- What makes an open case worth correcting next, by the version that was asked; made again when lost.
CREATE TABLE acquisition (
    version     TEXT NOT NULL,
    "case"      TEXT NOT NULL,
    uncertainty REAL NOT NULL,              -- 0 (sure) to 1
    features    TEXT NOT NULL,              -- JSON list of numbers
    PRIMARY KEY (version, "case")
) STRICT;
