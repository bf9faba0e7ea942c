-- How much the version that was asked and a rival (what a federation offered) differ on the case.
ALTER TABLE acquisition ADD COLUMN disagreement REAL;  -- 0 to 1; NULL: there was no rival
ALTER TABLE acquisition ADD COLUMN rival TEXT;         -- the other version
