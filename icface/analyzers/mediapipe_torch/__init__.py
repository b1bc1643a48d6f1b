"""MediaPipe's Face Landmarker as torch modules, read from the same face_landmarker.task.

`CropReader` reads crops with gradients. The networks' weights are MediaPipe's, float16 in the file, float32 here.
"""
