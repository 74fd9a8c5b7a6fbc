import warnings; warnings.simplefilter("ignore")
import matplotlib; matplotlib.use("Agg")
import numpy as np, pandas as pd, io
from galaxymorph.plots import training, features, galaxies, style
N=["<img src=x onerror=alert(1)>",r"$\bad$","=cmd|' /C calc'!A0","_hidden","a\nb","a\0b","\u202egnp.exe","🌀","x"*300,"{{7*7}}","%s","\\\\",""]
k=len(N); rng=np.random.default_rng(0)
def save(f): f.savefig(io.BytesIO(),dpi=60,bbox_inches="tight"); f.canvas.draw()
save(training.confusion(rng.integers(0,5,(k,k)),N))
l=rng.integers(0,k,60)
im=rng.integers(0,255,(60,3,16,16)).astype("uint8")
save(features.projection(pd.DataFrame(rng.normal(size=(60,2)),columns=["a","b"]),l,N))
save(galaxies.distributions({"q":rng.normal(size=60)},l,N))
save(galaxies.examples(im[:k],N))
save(features.neighbours(im,np.arange(3),rng.integers(0,60,(3,4)),l,N))
f,ax=style.panel(height=3); ax.set(xscale="log",xlim=(1,1e6)); f.savefig("/tmp/scratch18-names.png")
print("ok")
