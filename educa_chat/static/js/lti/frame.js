/** A room in an iframe of a learning platform. */

const HEIGHT_PX = 720;

// Not all platforms listen (1EdTech LTI Client Side postMessages 1.0). In a window of its own, nobody does.
if (parent !== window) parent.postMessage({ subject: 'lti.frameResize', height: HEIGHT_PX }, '*');
