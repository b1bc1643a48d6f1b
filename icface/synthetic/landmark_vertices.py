"""The vertices of MakeHuman's base mesh that are the 68 iBUG points.

Found by MediaPipe on 14 rendered people: of each point the vertex that lies nearest on average, the same on both
sides.
"""

# fmt: off
LANDMARK_VERTICES = (
    5739, 5735, 5246, 5241, 5240, 915, 995, 746, 747, 7466, 7689, 7617, 11849, 11850, 11854, 12332,
    12336,  # jaw, from the right ear
    5262, 232, 231, 223, 233, 7006, 6997, 7004, 7005, 11870,  # brows
    136, 131, 201, 5134, 334, 313, 317, 7076, 7096,  # nose
    15, 7, 4865, 69, 6772, 4859, 6853, 11483, 6791, 6799, 11477, 13368,  # eyes
    423, 5354, 355, 455, 7116, 11956, 7183, 7235, 7241, 492, 486, 480,  # outer lips
    503, 472, 474, 7228, 7252, 7242, 493, 487,  # inner lips
)
# fmt: on
"""Numbers in `base.obj`, from 0."""
