"""Segment."""
from dataclasses import dataclass
import numpy as np
from numpy.typing import NDArray
from tenfold.images.components import Box, Components, connected_components
from tenfold.images.filters import grow
from tenfold.images.ink import InkMap
from tenfold.images.strokes import to_mnist

def digit_image(ink: InkMap, mask):
    ys,xs=np.flatnonzero(mask.any(1)),np.flatnonzero(mask.any(0))
    t,b,l,r=ys[0],ys[-1]+1,xs[0],xs[-1]+1
    k=max(2, round(max(b-t,r-l)/14))
    H,W=mask.shape
    t0,b0,l0,r0=max(t-k,0),min(b+k,H),max(l-k,0),min(r+k,W)
    m=mask[t0:b0,l0:r0].astype(np.float32)
    other=ink.mask[t0:b0,l0:r0]&~mask[t0:b0,l0:r0]
    near=(grow(m,k)>0)&~other
    s=np.where(near,ink.strength[t0:b0,l0:r0],0)
    s[s<0.1]=0
    return to_mnist(s)
