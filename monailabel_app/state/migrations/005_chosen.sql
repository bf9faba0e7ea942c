-- Where a case was corrected more than once: the correction that a reviewer wants used instead of the newest.
CREATE TABLE chosen (
    "case"     TEXT PRIMARY KEY,
    correction TEXT NOT NULL REFERENCES corrections (id),
    by         TEXT NOT NULL,
    at         TEXT NOT NULL
) STRICT;
