"""MediaPipe's Face Landmarker as torch modules, read from the same face_landmarker.task.

`crop_reader.read_crops` reads crops with gradients. The networks' weights are MediaPipe's, float16 in the file and
float32 here.
"""
