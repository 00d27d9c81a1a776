/** Keeps the composer above a phone's keyboard in browsers that lay it over the page (Safari). */
export function followViewport() {
  const viewport = window.visualViewport;
  if (!viewport) return;
  const style = document.documentElement.style;
  const follow = () => {
    const height = Math.round(viewport.height * viewport.scale);
    if (Math.abs(innerHeight - height) > 1) style.setProperty('--viewport', `${height}px`);
    else style.removeProperty('--viewport');
    if (viewport.scale === 1) scrollTo(0, 0);
  };
  viewport.addEventListener('resize', follow);
}
