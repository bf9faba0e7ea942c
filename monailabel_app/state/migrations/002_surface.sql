-- Average surface distance beside the Dice; empty where the voxel size is not real.
ALTER TABLE scores ADD COLUMN surface TEXT NOT NULL DEFAULT '{}';  -- JSON {label: millimetres}
