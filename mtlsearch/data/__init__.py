"""Sources of inputs and labels: arrays (`parts`), tables, texts, pictures, files on disk.

Door: `parts.Data`, `table.Table`, `text.Corpus`, `pictures.PictureFolder`, `on_disk.OnDisk`, `cached.cached`.
"""
