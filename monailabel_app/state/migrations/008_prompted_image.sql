-- Which image the prompts of a case were given on: another one may have its name by now.
ALTER TABLE prompts ADD COLUMN image TEXT NOT NULL DEFAULT '';  -- SHA-256 of voxels and geometry; '': not known
