-- Labels of the schema that a correction annotates; of the others it says nothing.
ALTER TABLE corrections ADD COLUMN annotated TEXT;  -- JSON object, name -> voxel value; NULL: all of them
