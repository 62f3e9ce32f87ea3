"""Sources of inputs and labels: arrays (`data`), tables, texts, pictures, files on disk.

Door: `data.Data`, `table.Table`, `text.Corpus`, `pictures.PictureFolder`, `examples.on_disk.OnDisk`, `cached.cached`.
"""
